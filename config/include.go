package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"customhouse/policy"

	"go.yaml.in/yaml/v4"
)

// Bounds on what a configuration includes, all files together.
const (
	maxFiles    = 1000
	maxIncluded = 16 << 20 // bytes
)

// A shelf is where included files stand.
type shelf interface {
	read(path string) ([]byte, error)      // as much as tells whether the file is too large
	glob(pattern string) ([]string, error) // sorted
	same(path string) string               // equal for all names of a file
}

// disk is the shelf of the file system.
type disk struct{}

var _ shelf = disk{}

func (disk) read(path string) ([]byte, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil, errors.New("it is no regular file") // opening a pipe would wait for its writer
	}
	return read(path)
}

func (disk) glob(pattern string) ([]string, error) { return filepath.Glob(pattern) }

func (disk) same(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if full, err := filepath.Abs(path); err == nil {
		path = full
	}
	return path
}

// ruleFile is the shape of an included file.
type ruleFile struct {
	Rules []policy.Rule            `yaml:"rules"`
	Sets  map[string]policy.Values `yaml:"sets"`
}

// An include is an entry of rules that stands for the rules of other files.
type include struct {
	index int    // its place in the list
	path  string // as it is written; "" where the entry is wrong
}

// isInclude tells whether an entry of rules is an include, be it a wrong one.
func isInclude(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "include" {
			return true
		}
	}
	return false
}

// include reads an entry of rules that isInclude.
func (d *decoder) include(n *yaml.Node, key string, index int) {
	var entry struct {
		Include string `yaml:"include"`
	}
	before := len(d.errs)
	d.value(n, key, reflect.ValueOf(&entry).Elem())
	if len(d.errs) == before && entry.Include == "" {
		d.fail(d.at(key+".include"), key+".include", "want a file, such as rules.d/team.yml, or a pattern, such as rules.d/*.yml")
	}
	if len(d.errs) > before {
		entry.Include = ""
	}
	d.includes = append(d.includes, include{index, entry.Include})
}

// gathering is the rules of a file and of those that it includes, in the order in which they are asked, and their sets.
type gathering struct {
	shelf   shelf
	rules   []policy.Rule
	origins []origin // of each rule
	sets    map[string]policy.Values
	homes   map[string]*decoder // the file of each set
	files   []*decoder          // that were read, in their order
	bytes   int                 // that were read of included files
	seen    map[string]string   // where a file was included, by itself
	within  []string            // the files being read, outermost first
	watched []string            // included files, and folders that patterns were compared with
}

// origin is where a rule was read.
type origin struct {
	file  *decoder
	index int // in the rules of that file
}

func newGathering(s shelf) *gathering {
	return &gathering{shelf: s, rules: []policy.Rule{}, homes: map[string]*decoder{}, seen: map[string]string{}}
}

// add adds the sets and the rules of d's file, with those that it includes in the place of the entries that name them.
func (g *gathering) add(d *decoder, rules []policy.Rule, sets map[string]policy.Values) {
	for name, members := range sets {
		if home := g.homes[name]; home != nil {
			key := join("sets", name)
			d.report(key, "is defined twice, first at "+home.source(key))
			continue
		}
		if g.sets == nil {
			g.sets = map[string]policy.Values{}
		}
		g.sets[name], g.homes[name] = members, d
	}
	g.files = append(g.files, d)
	g.within = append(g.within, g.shelf.same(d.file))
	defer func() { g.within = g.within[:len(g.within)-1] }()
	includes := d.includes
	for i, r := range rules {
		if len(includes) > 0 && includes[0].index == i {
			g.include(d, includes[0])
			includes = includes[1:]
			continue
		}
		if key := fmt.Sprintf("rules[%d]", i); d.has(key) {
			r.Source = d.source(key)
		}
		g.rules, g.origins = append(g.rules, r), append(g.origins, origin{d, i})
	}
}

// setSources tells where each set stands.
func (g *gathering) setSources() (sources map[string]string) {
	for name, home := range g.homes {
		if sources == nil {
			sources = map[string]string{}
		}
		sources[name] = home.source(join("sets", name))
	}
	return sources
}

// source is where key stands, such as customhouse.yml:12.
func (d *decoder) source(key string) string { return fmt.Sprintf("%s:%d", d.file, d.at(key).line) }

// include adds the rules of the files that an entry names.
func (g *gathering) include(d *decoder, inc include) {
	if inc.path == "" {
		return
	}
	key := fmt.Sprintf("rules[%d].include", inc.index)
	bad := func(format string, args ...any) { d.report(key, fmt.Sprintf(format, args...)) }
	path := inc.path
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(d.file), path)
	}
	paths := []string{path}
	if hasMeta(path) {
		var why string
		if paths, why = g.expand(path); why != "" {
			bad("%s", why)
		}
	}
	for _, path := range paths {
		same := g.shelf.same(path)
		first, twice := g.seen[same]
		switch {
		case slices.Contains(g.within, same):
			bad("%s includes itself%s", path, g.circle(same))
			continue
		case twice:
			bad("%s is included twice, first by %s", path, first)
			continue
		case len(g.seen) >= maxFiles:
			bad("more than %d files are included", maxFiles)
			return
		}
		g.seen[same] = d.source(key)
		g.watched = append(g.watched, path)
		data, err := g.shelf.read(path)
		if err != nil {
			bad("cannot read %s: %s", path, withoutPath(err))
			continue
		}
		if g.bytes += len(data); g.bytes > maxIncluded {
			bad("the files up to %s are larger than %d MiB together", path, maxIncluded>>20)
			return
		}
		g.file(path, data)
	}
}

// file adds the rules of an included file.
func (g *gathering) file(path string, data []byte) {
	d := newDecoder(path)
	d.including = true
	root, err := tree(path, data, "neither rules nor sets are here; write rules: [] if none are meant")
	if err != nil {
		errors.As(err, &d.errs)
		g.files = append(g.files, d)
		return
	}
	var f ruleFile
	d.decode(root, &f)
	g.add(d, f.Rules, f.Sets)
}

// expand returns the files that a pattern names, in the order of their names, or why there are none. Hidden files are not
// meant unless the pattern says so: editors and mounted volumes keep some beside those of people.
func (g *gathering) expand(pattern string) (paths []string, why string) {
	for folder := pattern; hasMeta(folder); {
		folder = filepath.Dir(folder)
		folders, _ := g.shelf.glob(folder) // no pattern is malformed in a part and not as a whole
		g.watched = append(g.watched, folders...)
	}
	if strings.Contains(pattern, "**") {
		return nil, "** is no part of a pattern of files; name each folder, such as rules.d/*/*.yml"
	}
	all, err := g.shelf.glob(pattern)
	hidden := func(path string) bool { return strings.HasPrefix(filepath.Base(path), ".") }
	if !hidden(pattern) {
		all = slices.DeleteFunc(all, hidden)
	}
	switch {
	case err != nil:
		return nil, "no pattern of files: a [ has no ]"
	case len(all) == 0:
		return nil, "no file has such a name"
	}
	return all, ""
}

// circle says by way of which files the one that is being read came to include the one that is same.
func (g *gathering) circle(same string) string {
	way := g.within[slices.Index(g.within, same)+1:]
	if len(way) == 0 {
		return ""
	}
	names := make([]string, len(way))
	for i, path := range way {
		names[i] = filepath.Base(path)
	}
	return " by way of " + strings.Join(names, " and ")
}

// report notes what is wrong in the file that has the key: rules count across files, and sets are of all.
func (g *gathering) report(e *Error) {
	if number, rest, ok := strings.Cut(strings.TrimPrefix(e.Key, "rules["), "]"); ok && strings.HasPrefix(e.Key, "rules[") {
		if i, err := strconv.Atoi(number); err == nil && i < len(g.origins) {
			from := g.origins[i]
			from.file.reportWithin(fmt.Sprintf("rules[%d]%s", from.index, rest), e.Message, e.within)
			return
		}
	}
	for name, home := range g.homes {
		if set := join("sets", name); e.Key == set || strings.HasPrefix(e.Key, set+"[") {
			home.reportWithin(e.Key, e.Message, e.within)
			return
		}
	}
	g.files[0].reportWithin(e.Key, e.Message, e.within)
}

// errors returns what is wrong in the files, in the order in which they were read.
func (g *gathering) errors() error {
	var all Errors
	for _, d := range g.files {
		_ = d.errs.sorted() // in place
		all = append(all, d.errs...)
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// hasMeta tells whether path is a pattern.
func hasMeta(path string) bool { return strings.ContainsAny(path, `*?[\`) }

// withoutPath says what an error of the file system is, without the path.
func withoutPath(err error) string {
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return cmp.Or(err.Error(), "unknown")
}
