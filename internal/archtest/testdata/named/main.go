// Command named calls a method by a name that it reads.
package main

import (
	"os"
	"text/template"
)

func main() {
	if err := template.Must(template.New("").Parse("{{.String}}")).Execute(os.Stdout, os.Interrupt); err != nil {
		panic(err)
	}
}
