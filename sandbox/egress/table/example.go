package table

import (
	"embed"
	"path"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
)

//go:embed schema.json
var schema []byte

// Schema gives the JSON Schema (draft 2020-12) of the format.
func Schema() []byte { return slices.Clone(schema) }

//go:embed testdata/*.json
var examples embed.FS

// Examples names the examples: tables, and "rules" of a rules file.
func Examples() (names []string) {
	all, _ := examples.ReadDir("testdata")
	for _, e := range all {
		names = append(names, strings.TrimSuffix(e.Name(), ".json"))
	}
	return names
}

// Example gives one of them.
func Example(name string) ([]byte, error) {
	if !slices.Contains(Examples(), name) {
		return nil, &sandbox.Error{Op: "table: example", Kind: sandbox.NotFound, Object: "name", Detail: "the examples are " + strings.Join(Examples(), ", ")}
	}
	return examples.ReadFile(path.Join("testdata", name+".json"))
}
