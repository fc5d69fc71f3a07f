// Parses queries with the columns of their tables: `node check_queries.js PACKAGE`, where PACKAGE is
// the folder of @kusto/language-service-next. Reads {tables: {name: columns}, queries: {name: text}}
// from its standard input and writes {name: [what is wrong]}.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");

for (const file of ["bridge.min.js", "Kusto.Language.Bridge.min.js"]) {
  // They put their classes into the global object, as a page's scripts do.
  vm.runInThisContext(fs.readFileSync(path.join(process.argv[2], file), "utf8"), file);
}

const language = Kusto.Language;
const { tables, queries } = JSON.parse(fs.readFileSync(0, "utf8"));
const symbols = Object.entries(tables).map(([name, columns]) =>
  language.Symbols.TableSymbol.From(`(${columns})`).WithName(name),
);
const database = new language.Symbols.DatabaseSymbol.ctor("logs", ...[symbols]);
const globals = language.GlobalState.Default.WithDatabase(database);

const found = {};
for (const [name, text] of Object.entries(queries)) {
  const diagnostics = language.KustoCode.ParseAndAnalyze(text, globals).GetDiagnostics();
  found[name] = System.Linq.Enumerable.from(diagnostics, language.Diagnostic)
    .ToArray(language.Diagnostic)
    .map((each) => each.Message);
}
process.stdout.write(JSON.stringify(found));
