// Package doctest holds the tests that execute the documentation.
//
// Blocks in README.md and docs say by the words after their fence what they are. Every "yaml" block must load without
// problems; "yaml ignore=REASON" shows something else, and "yaml file=NAME" is also written to a file where the document
// runs. Blocks of "sh run" run in order, each document in a folder and a network namespace of its own, with this checkout's
// lateen on PATH: "background" starts what runs to the end of the document, "eventually" is repeated until its output is
// right, "exit=N" must fail; those of "sh cluster" are run by package e2e. The "output" block
// that follows says what must come out, with … for any text in a line and a line of … for any lines. "output interrupt" sends
// SIGINT to what runs in the background, which must end well.
//
// Besides, the lists in docs/reference/interfaces.md must be those of the code, and documents must stay short.
//
// Every code of a problem has a file in testdata/problems that says what it means and shows it: the examples are run, and
// docs/reference/problems.md is written from them.
package doctest

//go:generate go test -count 1 -run ^TestProblemsPage$ . -update
