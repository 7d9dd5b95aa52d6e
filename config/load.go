package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// Bounds on a file. One at the bounds takes about a second and 300 MB to read; ten thousand rules take half of it.
const (
	maxBytes  = 2 << 20
	maxDepth  = 64
	maxValues = 200_000 // each counts as often as aliases repeat it
	maxText   = 4096    // bytes of a single value
	maxErrors = 100
)

// Load reads the file at path and checks it, along with the files that it names: they have to be there and readable.
// The error is Errors, or that of reading the file.
func Load(path string) (*Config, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	return parse(disk{}, path, data, reading{files: true})
}

// LoadRules is Load without looking at the files that the file names, for who cares about rules alone: where those are
// written and tested there are no certificates.
func LoadRules(path string) (*Config, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	return parse(disk{}, path, data, reading{})
}

// LoadPart is LoadRules for a file of rules that belong to the configuration whole: its sets can be referred to, and its
// dialect holds.
func LoadPart(path string, whole *Config) (*Config, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	return parse(disk{}, path, data, reading{partOf: whole})
}

// read returns the content of the file at path, or as much of it as tells that it is too large.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxBytes+1))
}

// Parse reads a configuration from data, the content of a file that messages call name; relative paths in it are
// relative to the folder of name, and rules that it includes are read. Keys that are absent keep the value they have in
// Default. The error is Errors.
func Parse(name string, data []byte) (*Config, error) {
	return parse(disk{}, name, data, reading{})
}

// reading is how a file is read.
type reading struct {
	files    bool    // whether the files that it names have to be there
	shadowOf *Config // whose shadow policy it has, if it is one
	partOf   *Config // whose sets and dialect hold in it, if it is rules for one
}

// parse reads a configuration whose included files stand on a shelf.
func parse(s shelf, name string, data []byte, r reading) (*Config, error) {
	root, err := tree(name, data, "nothing is configured here; write {} to get all the defaults")
	if err != nil {
		return nil, err
	}
	c := Default()
	d := newDecoder(name)
	d.including = true
	d.decode(root, c)
	g := newGathering(s)
	g.add(d, c.Rules, c.Sets)
	c.Rules, c.Sets, c.SetSources, c.Included = g.rules, g.sets, g.setSources(), g.watched
	if r.shadowOf != nil {
		c.Shadow = "" // a shadow has none
		c.inherit(r.shadowOf, d)
	}
	if r.partOf != nil {
		c.inherit(r.partOf, d)
	}
	shadow := c.readShadow(s, d)
	c.rebase(filepath.Dir(name))
	if r.files {
		d.visit(c, "")
	}
	if c.Auth.Off && !d.has("rules") {
		c.Rules = nil
	}
	for i := range c.Token.Trust {
		if t := &c.Token.Trust[i]; t.Rules == nil {
			t.Rules = new(d.has("rules"))
		}
	}
	for _, e := range c.problems() {
		g.report(e)
	}
	if err := joined(g.errors(), shadow); err != nil {
		return nil, err
	}
	return c, nil
}

// rebase makes the relative paths in c relative to a folder.
func (c *Config) rebase(folder string) {
	c.locate(folder)
	under := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(folder, *p)
		}
	}
	for key, p := range c.paths() {
		under(p)
		if strings.HasSuffix(key, ".command") && !strings.Contains(*p, "/") { // it stays a path
			*p = "./" + *p
		}
	}
	for i := range c.Auth.Workload {
		under(&c.Auth.Workload[i].TokenFile)
	}
	for i := range c.Auth.AppPasswords.Import {
		db := &c.Auth.AppPasswords.Import[i]
		under(&db.LevelDB)
		under(&db.RedisFile)
		under(&db.GCSKeyFile)
	}
}

// visit reports the files that c names, by keys that the file has behind prefix, and that cannot be read or started.
func (d *decoder) visit(c *Config, prefix string) {
	report := func(key, why string) {
		if d.has(prefix + key) {
			d.report(prefix+key, why)
		}
	}
	for key, p := range c.paths() {
		if *p != "" && !folders[key] && !strings.HasSuffix(key, ".command") {
			report(key, readable(*p))
		}
	}
	for key, why := range c.commands() {
		report(key, why)
	}
	for i, w := range c.Auth.Workload {
		if w.TokenFile != "" {
			report(fmt.Sprintf("auth.workload[%d].token_file", i), readable(w.TokenFile))
		}
	}
}

// paths returns the values that are paths, by key.
func (c *Config) paths() map[string]*string {
	paths := map[string]*string{
		"data":                          &c.Data,
		"tls.certificate":               &c.TLS.Certificate,
		"tls.key":                       &c.TLS.Key,
		"token.key":                     &c.Token.Key,
		"token.certificate":             &c.Token.Certificate,
		"auth.htpasswd":                 &c.Auth.Htpasswd,
		"audit.file":                    &c.Audit.File,
		"authorize.casbin.model":        &c.Authorize.Casbin.Model,
		"authorize.casbin.policy":       &c.Authorize.Casbin.Policy,
		"tls.acme.cache":                &c.TLS.ACME.Cache,
		"tls.acme.ca":                   &c.TLS.ACME.CA,
		"storage.adopt":                 &c.Storage.Adopt,
		"auth.ldap.ca_certificate":      &c.Auth.LDAP.CACertificate,
		"auth.ldap.bind_password_file":  &c.Auth.LDAP.BindPasswordFile,
		"auth.sql.source_file":          &c.Auth.SQL.SourceFile,
		"auth.mongo.password_file":      &c.Auth.Mongo.PasswordFile,
		"authorize.sql.source_file":     &c.Authorize.SQL.SourceFile,
		"authorize.mongo.password_file": &c.Authorize.Mongo.PasswordFile,
	}
	for i := range c.TLS.ClientCAs {
		paths[fmt.Sprintf("tls.client_cas[%d]", i)] = &c.TLS.ClientCAs[i]
	}
	for i := range c.Token.VerifyKeys {
		paths[fmt.Sprintf("token.verify_keys[%d]", i)] = &c.Token.VerifyKeys[i]
	}
	for i := range c.Token.Trust {
		t, key := &c.Token.Trust[i], fmt.Sprintf("token.trust[%d]", i)
		paths[key+".certificates"], paths[key+".jwks"] = &t.Certificates, &t.JWKS
	}
	for i := range c.Auth.Workload { // but for token_file, which is read when it is needed
		w, key := &c.Auth.Workload[i], fmt.Sprintf("auth.workload[%d]", i)
		paths[key+".jwks"], paths[key+".ca"] = &w.JWKS, &w.CA
	}
	c.programPaths(paths)
	c.Auth.oauthPaths(paths)
	for i := range c.Mirrors {
		m, key := &c.Mirrors[i], fmt.Sprintf("mirrors[%d]", i)
		paths[key+".password_file"], paths[key+".cas"] = &m.PasswordFile, &m.CAs
		commandPath(paths, key+".exec", &m.Exec.Command)
	}
	for i := range c.Replicate {
		r, key := &c.Replicate[i], fmt.Sprintf("replicate[%d]", i)
		paths[key+".password_file"], paths[key+".cas"] = &r.PasswordFile, &r.CAs
		commandPath(paths, key+".exec", &r.Exec.Command)
	}
	return paths
}

// folders are the keys of paths whose values are no files that are read.
var folders = map[string]bool{"data": true, "tls.acme.cache": true, "storage.adopt": true, "audit.file": true}

// Files returns the files that c names, and the folders in which it looks for some. What is built from c is to be built
// anew when one of them changes.
func (c *Config) Files() []string {
	files := slices.Clone(c.Included)
	if c.Shadowed != nil {
		files = append(append(files, c.Shadow), c.Shadowed.Included...)
	}
	for key, p := range c.paths() {
		if *p != "" && !folders[key] {
			files = append(files, *p)
		}
	}
	slices.Sort(files)
	return files
}

// readable returns why the file at path cannot be read, "" if it can.
func readable(path string) string {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return "cannot read the file: it is a folder"
	}
	if err == nil && info.Mode().IsRegular() { // opening a pipe would wait for its writer
		var f *os.File
		if f, err = os.Open(path); err == nil {
			f.Close()
		}
	}
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return "cannot read the file: " + pathErr.Err.Error()
	}
	return ""
}

// tree returns the root of the only document in data; none is what to say when there is no document.
func tree(name string, data []byte, none string) (root *yaml.Node, err error) {
	bad := func(line, column int, message string) (*yaml.Node, error) {
		return nil, Errors{{File: name, Line: line, Column: column, Message: message}}
	}
	if len(data) > maxBytes {
		return bad(0, 0, "larger than 2 MiB")
	}
	if at, message := unreadable(data); message != "" {
		line, column := position(data, at)
		return bad(line, column, message)
	}
	// Each value ends in one of these, so a text is refused before its values take a multiple of its memory.
	if separators := count(data, ",:[{\n"); separators > maxValues {
		return bad(0, 0, fmt.Sprintf("more than %d values", maxValues))
	}
	// A text that makes the parser panic must not end the server that reloads it; older versions had such texts
	// (CVE-2022-28948).
	defer func() {
		if recover() != nil {
			root, err = bad(0, 0, "not YAML")
		}
	}()
	var document yaml.Node
	err = yaml.Load(data, &document, yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if syntax := (*yaml.LoadError)(nil); errors.As(err, &syntax) {
		return bad(syntax.Mark.Line, syntax.Mark.Column, syntaxMessage(syntax, data, none))
	}
	if err != nil {
		return bad(0, 0, "not YAML")
	}
	return document.Content[0], nil
}

// syntaxMessage says what is wrong with a text in words that quote nothing of it.
func syntaxMessage(e *yaml.LoadError, data []byte, none string) string {
	switch {
	case isTab(data, e.Mark):
		return "not YAML: a tab; indent with spaces"
	case strings.HasPrefix(e.Message, "unknown anchor"): // the name that follows may be half a password
		return "an alias (*) of nothing; quote text that begins with *"
	case strings.Contains(e.Message, "did not find expected alphabetic or numeric character"): // of an anchor or an alias
		return "not YAML: text that begins with * or & has to be quoted"
	case strings.HasSuffix(e.Message, "no documents in stream"):
		return none
	case strings.HasSuffix(e.Message, "expected single document, found multiple"):
		return "more than one document (---)"
	case e.ContextMsg != "" && e.ContextMark.Line != e.Mark.Line:
		return fmt.Sprintf("not YAML: %s %s from line %d", e.Message, e.ContextMsg, e.ContextMark.Line)
	}
	return "not YAML: " + e.Message
}

func isTab(data []byte, at yaml.Mark) bool {
	lines := bytes.Split(data, []byte("\n"))
	if at.Line < 1 || at.Line > len(lines) {
		return false
	}
	line := []rune(string(lines[at.Line-1]))
	return 1 <= at.Column && at.Column <= len(line) && line[at.Column-1] == '\t'
}

// count returns how many bytes of data are one of chars.
func count(data []byte, chars string) (n int) {
	for i := range len(chars) {
		n += bytes.Count(data, []byte(chars[i:i+1]))
	}
	return n
}

// unreadable returns the offset of the first character that YAML does not allow, and why; "" if there is none.
func unreadable(data []byte) (offset int, message string) {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return i, "not UTF-8"
		case unicode.IsControl(r) && !strings.ContainsRune("\t\n\r\u0085", r):
			return i, "a control character"
		}
		i += size
	}
	return 0, ""
}

// position returns line and column of an offset.
func position(data []byte, offset int) (line, column int) {
	before := data[:offset]
	start := bytes.LastIndexByte(before, '\n') + 1
	return 1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[start:])
}
