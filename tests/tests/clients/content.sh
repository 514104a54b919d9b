# What the server of files serves, in the folder that is named: an index with a package, and
# a repository.
cd "$1"
umask 022
mkdir -p www/simple/lkt-greeting git
python3 - <<'PYTHON'
import zipfile

name = "lkt_greeting-1.0"
with zipfile.ZipFile(f"www/simple/lkt-greeting/{name}-py3-none-any.whl", "w") as wheel:
    wheel.writestr("lkt_greeting.py", 'print("greetings from a package")\n')
    info = f"{name}.dist-info"
    wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: lkt-greeting\nVersion: 1.0\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(f"{info}/RECORD", "")
PYTHON
echo '<a href="lkt_greeting-1.0-py3-none-any.whl">lkt_greeting-1.0-py3-none-any.whl</a>' \
    >www/simple/lkt-greeting/index.html
git init -q -b main project
echo 'in a repository' >project/file
git -C project add file
git -C project -c user.name=test -c user.email=test@example commit -q -m first
git clone -q --bare project git/project.git
