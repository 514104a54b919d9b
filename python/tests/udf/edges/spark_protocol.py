"""Spark's own definitions of its worker protocol, and a client generated from them.

They are in a jar that pyspark ships, `spark-udf-worker-proto_*.jar`, as .proto files. It is
found in an installed pyspark, or is what LAKEKEEP_SPARK_PROTOCOL_JAR names. pyspark is one
archive of 456 MB, of which the jar is 400 KB: fetch_spark_protocol.py takes it out alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

JAR = "spark-udf-worker-proto_*.jar"
VARIABLE = "LAKEKEEP_SPARK_PROTOCOL_JAR"
MISSING = f"needs pyspark 4.3, or {VARIABLE}: see tests/udf/edges/fetch_spark_protocol.py"


def find_jar() -> Optional[Path]:
    """The jar, wherever it is."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    spec = importlib.util.find_spec("pyspark")
    places = spec.submodule_search_locations if spec else None
    for place in places or ():
        for jar in Path(place, "jars").glob(JAR):
            return jar
    return None


class Spark:
    """The protocol as generated from Spark's files: messages, and the client of the service."""

    def __init__(self, jar: Path, folder: Path) -> None:
        """Generates the code into a folder, which stays on sys.path."""
        from grpc_tools import protoc

        with zipfile.ZipFile(jar) as files:
            names = [name for name in files.namelist() if name.endswith(".proto")]
            for name in names:
                files.extract(name, folder)
        outputs = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
        code = protoc.main(["protoc", f"-I{folder}", *outputs, *(f"{folder}/{n}" for n in names)])
        if code:
            raise RuntimeError(f"protoc ended with {code}")
        sys.path.insert(0, str(folder))
        self.common = self._module("common_pb2")
        self.messages = self._module("udf_message_pb2")
        self._service = self._module("udf_service_pb2_grpc")

    @staticmethod
    def _module(name: str) -> ModuleType:
        return importlib.import_module(name)

    def stub(self, channel: Any) -> Any:
        """The client of the service."""
        return self._service.UdfWorkerStub(channel)
