// Asks for a page.
require("node:https")
    .get(process.argv[2], (answer) => answer.pipe(process.stdout))
    .on("error", (error) => {
        console.error(error.message);
        process.exitCode = 1;
    });
