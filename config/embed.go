package config

import (
	_ "embed"
	"slices"
)

//go:embed example.yml
var example []byte

//go:embed rules.schema.json
var rulesSchema []byte

//go:embed schema.json
var schema []byte

// Example returns a customhouse.yml that sets every key to its default and says what it means.
func Example() []byte { return slices.Clone(example) }

// Schema returns the JSON Schema (draft 2020-12) of customhouse.yml, for editors.
func Schema() []byte { return slices.Clone(schema) }

// RulesSchema returns the JSON Schema (draft 2020-12) of a file that rules are included from, for editors.
func RulesSchema() []byte { return slices.Clone(rulesSchema) }
