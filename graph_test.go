package customhouse_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// graph is the architecture: which packages of the module a package may import, besides customhouse itself, which all
// may. docs/architecture.md draws it. A package that is not here may not be.
var graph = map[string][]string{
	"customhouse":                 {},
	"customhouse/index":           {},
	"customhouse/blob":            {},
	"customhouse/authn":           {"outbound"},
	"customhouse/database":        {},
	"customhouse/policy":          {},
	"customhouse/token":           {},
	"customhouse/program":         {"outbound"},
	"customhouse/notify":          {"index", "outbound"},
	"customhouse/audit":           {"index"},
	"customhouse/outbound":        {},
	"customhouse/mirror":          {"outbound"},
	"customhouse/registry":        {"index", "blob"},
	"customhouse/gate":            {"authn", "policy", "token"},
	"customhouse/authz":           {"policy"},
	"customhouse/config":          {"policy"},
	"customhouse/compat":          {"config", "policy"},
	"customhouse/web":             {"authn"},
	"customhouse/server":          {"registry", "gate", "audit"},
	"customhouse/transfer":        {"registry", "mirror"},
	"customhouse/cmd/customhouse": {"index", "notify", "audit", "blob", "authn", "database", "policy", "token", "registry", "gate", "authz", "program", "config", "server", "web", "compat", "transfer", "mirror", "outbound"},
	"customhouse/examples":        {"config"},
	"customhouse/e2e":             {},
	"customhouse/e2e/backend":     {},
	"customhouse/bench":           {},

	"customhouse/examples/plugin-go": {}, // WebAssembly
}

// The graph of imports is the one drawn above: nothing points up or sideways, and the towers of content and of
// permission meet in server only.
func TestGraph(t *testing.T) {
	for file, imports := range goFiles(t, func(name string) bool { return !strings.HasSuffix(name, "_test.go") }) {
		pkg := "customhouse/" + filepath.ToSlash(filepath.Dir(file))
		pkg = strings.TrimSuffix(pkg, "/.")
		allowed, ok := graph[pkg]
		if !ok {
			t.Errorf("%s: package %s is not in the graph", file, pkg)
		}
		for _, path := range imports {
			if path != "customhouse" && strings.HasPrefix(path, "customhouse/") && !slices.Contains(allowed, strings.TrimPrefix(path, "customhouse/")) {
				t.Errorf("%s imports %s, which %s may not", file, path, pkg)
			}
			if pkg == "customhouse" && strings.Contains(path, ".") {
				t.Errorf("%s imports %s: the words take the standard library only", file, path)
			}
		}
	}
}

// The page draws the same graph: its edges are written `a, b -> c, d`.
func TestGraphIsDrawn(t *testing.T) {
	page, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	drawn := map[string][]string{}
	for _, m := range regexp.MustCompile("`([a-z, ]+) -> ([a-z, ]+)`").FindAllStringSubmatch(string(page), -1) {
		for from := range strings.SplitSeq(m[1], ", ") {
			drawn[from] = append(drawn[from], strings.Split(m[2], ", ")...)
		}
	}
	for pkg, allowed := range graph {
		name := strings.TrimPrefix(pkg, "customhouse/")
		if name == "customhouse" || strings.Contains(name, "/") || name == "examples" || name == "e2e" || name == "bench" {
			continue
		}
		if !strings.Contains(string(page), "| `"+name+"` |") {
			t.Errorf("the page does not tell what %s is", name)
		}
		got, want := slices.Sorted(slices.Values(drawn[name])), slices.Sorted(slices.Values(allowed))
		if !slices.Equal(got, want) {
			t.Errorf("the page draws %s -> %v, want %v", name, got, want)
		}
	}
}

// forbidden are packages that a part of the program must not know, whatever the graph says.
var forbidden = map[string][]string{
	"customhouse/index":    {"net/http"},
	"customhouse/blob":     {"net/http"},
	"customhouse/registry": {"net/http"},
	"customhouse/gate":     {"net/http"},
	"customhouse/authz":    {"net/http"},
	"customhouse/policy":   {"net/http", "log/slog", "os"}, // a decision depends on nothing but the question
}

// bloat are packages that keep the linker from dropping unused methods, which costs 17 MiB.
var bloat = []string{"text/template", "html/template", "github.com/google/go-cmp/cmp"}

func TestForbiddenImports(t *testing.T) {
	for file, imports := range goFiles(t, func(name string) bool { return !strings.HasSuffix(name, "_test.go") }) {
		pkg := "customhouse/" + filepath.ToSlash(filepath.Dir(file))
		for _, path := range append(slices.Clone(forbidden[pkg]), bloat...) {
			if slices.Contains(imports, path) {
				t.Errorf("%s imports %s", file, path)
			}
		}
	}
}

// goFiles returns the imports of the module's Go files whose name is wanted, by file.
func goFiles(t *testing.T, wanted func(name string) bool) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if _, err := os.Stat(filepath.Join(path, "go.mod")); d.IsDir() && path != "." && err == nil {
			return filepath.SkipDir // a module of its own
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || !wanted(path) {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		files[path] = []string{}
		for _, spec := range f.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			files[path] = append(files[path], name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
