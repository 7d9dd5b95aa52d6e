package config_test

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"customhouse"
	"customhouse/config"
	"customhouse/policy"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
)

// ruleComments say in the words of a file what package policy says in those of Go.
var ruleComments = map[string]string{
	"customhouse/policy.Rule.Match":         "The conditions of the rule, all of which must hold. Left out, the rule matches always.",
	"customhouse/policy.Rule.Actions":       "What is allowed, or denied: pull, list, push, create, update, mount, tag, referrer, delete, admin or *. An allow rule must have the list, be it empty.",
	"customhouse/policy.Rule.Effect":        "allow or deny. Left out, it is allow.",
	"customhouse/policy.Rule.Public":        "Whether everybody inherits what the rule allows, also whom another rule states a whole set of actions for.",
	"customhouse/policy.Rule.When":          "An expression in CEL that must be true, beside the conditions of match.",
	"customhouse/policy.Rule.From":          "When the rule begins to hold: a date, or a time such as 2026-12-31T18:00:00Z. Dates are in UTC.",
	"customhouse/policy.Rule.Expires":       "When the rule ceases to hold: the date of its last day, or a time.",
	"customhouse/policy.Rule.Message":       "What those are told whom the rule denies, in place of the reason.",
	"customhouse/policy.Rule.Comment":       "A remark for whoever reads the rules.",
	"customhouse/policy.Match.Account":      `Patterns for the name of the account; "" is anonymous, ** is whoever is logged in.`,
	"customhouse/policy.Match.Method":       "Patterns for how the account was proved: the source of accounts, such as users or ldap.",
	"customhouse/policy.Match.Labels":       "Patterns for each of these labels of the account; one of the label's values must match.",
	"customhouse/policy.Match.Claims":       "Patterns for each of these claims of the token that proved the account; a.b is b within a.",
	"customhouse/policy.Match.IP":           "The address of the client, or a CIDR prefix of it, such as 10.0.0.0/8.",
	"customhouse/policy.Match.Service":      "Patterns for the service that a token is asked for.",
	"customhouse/policy.Match.Type":         "Patterns for the type of the resource: repository or registry.",
	"customhouse/policy.Match.Name":         "Patterns for the name of the resource: a repository, or the catalog of the registry.",
	"customhouse/policy.Match.Tag":          `Patterns for the tag; "" is none.`,
	"customhouse/policy.Match.Digest":       "Patterns for the digest of the manifest.",
	"customhouse/policy.Match.MediaType":    "Patterns for the media type of the manifest.",
	"customhouse/policy.Match.ArtifactType": `Patterns for the artifact type of the manifest; "" is none.`,
}

// generate returns the schema of Config and the comments that it was made with.
func generate(t *testing.T) (*jsonschema.Schema, *jsonschema.Reflector) {
	t.Helper()
	r := &jsonschema.Reflector{
		FieldNameTag:               "yaml",
		RequiredFromJSONSchemaTags: true,
		DoNotReference:             true,
		Anonymous:                  true,
		Mapper:                     mapType,
	}
	if err := r.AddGoComments("customhouse/config", "."); err != nil {
		t.Fatal(err)
	}
	for key, comment := range r.CommentMap {
		r.CommentMap[key] = strings.Join(strings.Fields(comment), " ")
	}
	maps.Copy(r.CommentMap, ruleComments)
	s := r.Reflect(config.Config{})
	s.ID = ""
	s.Title = "customhouse.yml"
	s.Description = "The configuration of Customhouse"
	addDefaults(s, reflect.ValueOf(*config.Default()))
	rules, _ := s.Properties.Get("rules")
	rules.Items = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{rules.Items, includeEntry()}}
	return s, r
}

// includeEntry is an entry of rules that stands for those of other files.
func includeEntry() *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "object", Properties: jsonschema.NewProperties(), Required: []string{"include"}, AdditionalProperties: jsonschema.FalseSchema}
	s.Properties.Set("include", &jsonschema.Schema{
		Type: "string", Description: "A file of rules, or a pattern of such files, such as rules.d/*.yml, that are taken in the order of their names. Relative to the folder of this file.",
	})
	return s
}

// ruleKeys are the keys of an included file.
var ruleKeys = []string{"sets", "rules"}

// generateRules returns the schema of an included file: the part of s that is for those.
func generateRules(t *testing.T, s *jsonschema.Schema) *jsonschema.Schema {
	t.Helper()
	part := &jsonschema.Schema{
		Version: s.Version, Title: "rules of customhouse.yml", Description: "Rules that a configuration of Customhouse includes",
		Type: "object", AdditionalProperties: jsonschema.FalseSchema, Properties: jsonschema.NewProperties(),
	}
	for _, key := range ruleKeys {
		p, ok := s.Properties.Get(key)
		if !ok {
			t.Fatalf("the configuration has no key %s", key)
		}
		part.Properties.Set(key, p)
	}
	return part
}

func mapType(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`}
	case reflect.TypeFor[config.Size]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			{Type: "integer", Minimum: "0"}, {Type: "string", Pattern: `^[0-9]+ ?([KMGTP]iB|[kKMGTP]?B)?$`},
		}}
	case reflect.TypeFor[config.Reserve]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			{Type: "integer", Minimum: "0"}, {Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?%|[0-9]+ ?([KMGTP]iB|[kKMGTP]?B)?)$`},
		}}
	case reflect.TypeFor[config.Share]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			{Type: "number", Minimum: "0", Maximum: "1"}, {Type: "string", Pattern: `^(all|none|[0-9]+(\.[0-9]+)?%)$`},
		}}
	case reflect.TypeFor[config.Prefix]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[0-9a-fA-F:.]+(/[0-9]+)?$`}
	case reflect.TypeFor[policy.Values]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			{Type: "string"}, {Type: "array", Items: &jsonschema.Schema{Type: "string"}, MinItems: new(uint64(1))},
		}}
	case reflect.TypeFor[config.Decider]():
		s := &jsonschema.Schema{Type: "string"}
		for _, name := range config.Default().Authorize.Order {
			s.Enum = append(s.Enum, name)
		}
		return s
	case reflect.TypeFor[config.Source]():
		s := &jsonschema.Schema{Type: "string"}
		for _, name := range config.Default().Auth.Order {
			s.Enum = append(s.Enum, name)
		}
		return s
	case reflect.TypeFor[customhouse.Action]():
		return &jsonschema.Schema{Type: "string", Enum: []any{"pull", "list", "push", "create", "update", "mount", "tag", "referrer", "delete", "admin", "*"}}
	}
	return nil
}

// addDefaults writes the values of v into the properties of s.
func addDefaults(s *jsonschema.Schema, v reflect.Value) {
	for f, field := range v.Fields() {
		if f.Anonymous {
			addDefaults(s, field)
			continue
		}
		p, ok := s.Properties.Get(f.Tag.Get("yaml"))
		switch {
		case !ok || f.Name == "Rules":
		case isSection(f.Type):
			addDefaults(p, field)
		default:
			p.Default = plain(field)
		}
	}
}

// plain returns v as it stands in a file.
func plain(v reflect.Value) any {
	switch x := v.Interface().(type) {
	case config.Size:
		return int64(x)
	case customhouse.Secret:
		return string(x)
	case fmt.Stringer:
		return strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(x.String())
	}
	switch v.Kind() {
	case reflect.Slice:
		if v.Len() > 0 {
			return v.Interface()
		}
		return []any{}
	case reflect.Map:
		return map[string]any{}
	}
	return v.Interface()
}

func isSection(t reflect.Type) bool {
	_, text := reflect.New(t).Interface().(encoding.TextUnmarshaler)
	return t.Kind() == reflect.Struct && !text
}

func TestSchemaIsFresh(t *testing.T) {
	s, _ := generate(t)
	for _, tt := range []struct {
		file   string
		schema *jsonschema.Schema
		got    []byte
	}{{"schema.json", s, config.Schema()}, {"rules.schema.json", generateRules(t, s), config.RulesSchema()}} {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(tt.schema); err != nil {
			t.Fatal(err)
		}
		isFresh(t, tt.file, b.Bytes())
		if diff := cmp.Diff(b.String(), string(tt.got)); diff != "" && !*update {
			t.Errorf("the program has another %s:\n%s", tt.file, diff)
		}
	}
}

func TestDocumentIsFresh(t *testing.T) {
	_, r := generate(t)
	d := document{comments: r.CommentMap, rules: rulesInProse(t)}
	d.WriteString(`# customhouse.yml

A file needs only the keys that differ from their defaults; ` + "`customhouse config example`" + ` prints one with all of them.
Unknown and duplicate keys are errors, and ` + "`customhouse config check FILE`" + ` tells all of them at once with line and column.
Relative paths are relative to the folder of the file. Durations are written as 30s, 5m or 24h, sizes as 512MiB or 10GiB.
Nothing in the file is replaced from the environment.

(` + "`go test ./config -update`" + ` makes this page from config/config.go and policy/policy.go.)
`)
	d.table("", "", reflect.ValueOf(*config.Default()), true)
	isFresh(t, "../docs/config.md", d.Bytes())
}

// rulesInProse returns what the comment of package policy says about rules, as Markdown.
func rulesInProse(t *testing.T) string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../policy/policy.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	_, rules, ok := strings.Cut(f.Doc.Text(), "\n# Rules\n")
	if !ok {
		t.Fatal("the comment of package policy has no section Rules")
	}
	printer := comment.Printer{HeadingLevel: 3, HeadingID: func(*comment.Heading) string { return "" }}
	return strings.TrimSpace(string(printer.Markdown(new(comment.Parser).Parse(rules))))
}

// isFresh compares the file at path with want, or writes it.
func isFresh(t *testing.T, path string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Fatalf("%s is stale; go test ./config -update writes it anew (-want +got):\n%s", path, diff)
	}
}

// document is docs/config.md as it grows.
type document struct {
	bytes.Buffer
	comments map[string]string // of the fields, by package, type and name
	rules    string
}

// table writes the keys of the section v, which stands at path, and then the sections in it. With defaults, the values in
// v are those.
func (d *document) table(path, about string, v reflect.Value, defaults bool) {
	if path != "" {
		fmt.Fprintf(d, "\n## %s\n\n%s\n", path, about)
	}
	d.WriteString("\n| key | type | default | meaning |\n|---|---|---|---|\n")
	for _, write := range d.rows(path, v, defaults) {
		write()
	}
}

// rows writes the keys of a section, and returns what writes the sections in it.
func (d *document) rows(path string, v reflect.Value, defaults bool) (inner []func()) {
	for f, field := range v.Fields() {
		if f.Anonymous {
			inner = append(inner, d.rows(path, field, defaults)...)
			continue
		}
		key := f.Tag.Get("yaml")
		if key == "-" {
			continue
		}
		full := strings.TrimPrefix(path+"."+key, ".")
		about := d.comments[v.Type().PkgPath()+"."+v.Type().Name()+"."+f.Name]
		value := ""
		switch {
		case isSection(f.Type):
			inner = append(inner, func() { d.table(full, about, field, defaults) })
		case f.Type.Kind() == reflect.Map && isSection(f.Type.Elem()):
			value = "`{}`"
			of := d.comments[f.Type.Elem().PkgPath()+"."+f.Type.Elem().Name()]
			if full == "auth.users" {
				of = "An account."
			}
			inner = append(inner, func() { d.table(full+".NAME", of, reflect.Zero(f.Type.Elem()), false) })
		case full == "rules":
			inner = append(inner, func() { d.table(full+"[]", d.rules, reflect.Zero(f.Type.Elem()), false) })
		case defaults:
			value = code(plain(field))
		}
		fmt.Fprintf(d, "| `%s` | %s | %s | %s |\n", key, typeName(f), value, strings.ReplaceAll(about, "|", `\|`))
	}
	return inner
}

func code(v any) string {
	text := fmt.Sprint(v)
	switch v.(type) {
	case []any:
		text = "[]"
	case map[string]any:
		text = "{}"
	}
	if text == "" {
		text = `""`
	}
	return "`" + text + "`"
}

func typeName(f reflect.StructField) string {
	var enum []string
	for tag := range strings.SplitSeq(f.Tag.Get("jsonschema"), ",") {
		if value, ok := strings.CutPrefix(tag, "enum="); ok {
			enum = append(enum, "`"+value+"`")
		}
	}
	if enum != nil {
		return strings.Join(enum, ", ")
	}
	return nameOf(f.Type)
}

func plural(t reflect.Type) string {
	switch name := nameOf(t); {
	case name == "text":
		return name
	case strings.HasPrefix(name, "list "):
		return strings.Replace(name, "list", "lists", 1)
	case strings.HasSuffix(name, "x"):
		return name + "es"
	default:
		return name + "s"
	}
}

func nameOf(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[config.Size]():
		return "size"
	case reflect.TypeFor[config.Reserve]():
		return "percentage or size"
	case reflect.TypeFor[config.Share]():
		return "all, none or a share"
	case reflect.TypeFor[config.Prefix]():
		return "address or CIDR prefix"
	case reflect.TypeFor[config.Source]():
		return "source"
	case reflect.TypeFor[policy.Values]():
		return "text or list of text"
	case reflect.TypeFor[config.Decider]():
		return "decider"
	case reflect.TypeFor[customhouse.Action]():
		return "action"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return nameOf(t.Elem())
	case reflect.Slice:
		return "list of " + plural(t.Elem())
	case reflect.Map:
		return "names with " + plural(t.Elem())
	case reflect.Struct:
		return "section"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "whole number"
	}
	return "text"
}

// schemaKeys returns the keys of the schema, without their sections.
func schemaKeys(t *testing.T) []string {
	t.Helper()
	var s map[string]any
	if err := json.Unmarshal(config.Schema(), &s); err != nil {
		t.Fatal(err)
	}
	var keys []string
	var walk func(map[string]any)
	walk = func(s map[string]any) {
		properties, _ := s["properties"].(map[string]any)
		for key, p := range properties {
			keys = append(keys, key)
			walk(p.(map[string]any))
		}
	}
	walk(s)
	slices.Sort(keys)
	return slices.Compact(keys)
}

// Every value that the schema lists is accepted, and none other.
func TestSchemaEnumerations(t *testing.T) {
	var s struct {
		Properties map[string]struct {
			Properties map[string]struct{ Enum []string }
		}
	}
	if err := json.Unmarshal(config.Schema(), &s); err != nil {
		t.Fatal(err)
	}
	found := 0
	for section, p := range s.Properties {
		for key, q := range p.Properties {
			for _, value := range q.Enum {
				found++
				text := fmt.Sprintf("%s: {%s: %q}", section, key, value)
				if _, err := config.Parse("customhouse.yml", []byte(text)); err != nil {
					t.Errorf("Parse(%s) = %v, want nil", text, err)
				}
			}
		}
	}
	if found < 14 {
		t.Errorf("the schema enumerates %d values, want at least 14", found)
	}
}
