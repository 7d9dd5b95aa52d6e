package compat

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"customhouse/config"

	"go.yaml.in/yaml/v4"
)

// translation is a foreign file on its way into a Config, as far as the files of all programs are alike.
type translation struct {
	name       string // of the file
	dir        string // what relative paths are relative to
	checkFiles bool

	file     *config.Foreign
	to       *config.Config
	warnings []Warning
}

// begin reads data into v, a pointer to what a file of the program has.
func (t *translation) begin(data []byte, v any, o config.ForeignOptions) (err error) {
	if t.dir == "" {
		if t.dir, err = os.Getwd(); err != nil {
			return err
		}
	}
	if t.file, err = config.ParseForeign(t.name, data, v, o); err != nil {
		return err
	}
	for _, note := range t.file.Notes() {
		t.warnings = append(t.warnings, Warning{File: t.name, Line: note.Line, Column: note.Column, Key: note.Key, Message: note.Message + " (ignored)"})
	}
	t.to = config.Default()
	return nil
}

// end returns what has come out.
func (t *translation) end() (*config.Config, []Warning, error) {
	sortWarnings(t.warnings)
	if err := t.file.Err(); err != nil {
		return nil, t.warnings, err
	}
	return t.to, t.warnings, nil
}

// ownKey is the key of a foreign file for a part of a customhouse.yml, which the other program ignores.
const ownKey = "customhouse"

// overlay lays the part of a customhouse.yml over what the rest means.
func (t *translation) overlay(n *yaml.Node) { t.file.Overlay(ownKey, n, t.to, t.dir, t.checkFiles) }

// hasKey tells whether the section n has a key, each of keys being within the one before.
func hasKey(n *yaml.Node, keys ...string) bool {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == keys[0] {
			return len(keys) == 1 || hasKey(n.Content[i+1], keys[1:]...)
		}
	}
	return false
}

// origin is a key of customhouse.yml, or a section, that comes from another key of a foreign file.
type origin struct{ native, foreign string }

// check reports what the result has against it as a configuration of ours, at the key that it comes from. Of origins the
// first counts, so longer ones stand first.
func (t *translation) check(origins []origin) {
	if t.file.Err() != nil { // it may follow from that
		return
	}
	var wrong config.Errors
	errors.As(t.to.Validate(), &wrong)
	for _, e := range wrong {
		t.wrong(t.foreignKey(e.Key, origins), strings.ReplaceAll(e.Message, " allow_plaintext: true", " "+ownKey+": {allow_plaintext: true}"))
	}
}

// foreignKey returns the key of the file that the value of a key of customhouse.yml comes from: in our section, if that
// says most about it, or where an origin is.
func (t *translation) foreignKey(key string, origins []origin) string {
	said := key // of it in our section
	for said != "" && !t.file.Has(ownKey+"."+said) {
		said = said[:max(strings.LastIndexAny(said, ".["), 0)]
	}
	for _, o := range origins {
		section, _, _ := strings.Cut(o.foreign, ".")
		rest, ok := strings.CutPrefix(key, o.native)
		if ok && said != key && len(said) <= len(o.native) && (said == "" || t.file.Has(section)) {
			return o.foreign + rest
		}
	}
	if said != "" {
		return ownKey + "." + key
	}
	return key
}

// wrong notes what is wrong with the value of key.
func (t *translation) wrong(key, message string) { t.file.Report(key, message) }

// require notes that key must have a value.
func (t *translation) require(key string, ok bool) {
	if !ok {
		t.wrong(key, "is required")
	}
}

// warn adds a warning about key.
func (t *translation) warn(key, format string, args ...any) {
	t.deviation("", "", key, format, args...)
}

// deviation adds a warning about key: something that is done otherwise on purpose, under the name that the documentation
// has for it, and what to write to have it as it was.
func (t *translation) deviation(name, sw, key, format string, args ...any) {
	line, column := t.file.At(key)
	t.warnings = append(t.warnings, Warning{File: t.name, Line: line, Column: column, Key: key,
		Message: fmt.Sprintf(format, args...), Deviation: name, Switch: sw})
}

// path returns the absolute path of a file that key names, "" for "".
func (t *translation) path(key, file string) string {
	file = t.absolute(file)
	if file != "" && t.checkFiles {
		t.wrong(key, config.Readable(file))
	}
	return file
}

// absolute returns path, relative to the folder that the other program would have been started in; "" for "".
func (t *translation) absolute(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(t.dir, path)
}

// duration returns a duration, or its default where the file has none or 0.
func (t *translation) duration(key string, d duration, byDefault time.Duration) time.Duration {
	if d.bare && d.Duration != 0 {
		t.warn(key, "a number without a unit is nanoseconds: %v; write 10s, 5m or 1h", d.Duration)
	}
	return cmp.Or(d.Duration, byDefault)
}

// pair checks that a certificate has its key and the other way round.
func (t *translation) pair(section, certificate, key string) {
	if certificate != "" && key == "" {
		t.wrong(section+".certificate", "needs "+section+".key beside it")
	}
	if key != "" && certificate == "" {
		t.wrong(section+".key", "needs "+section+".certificate beside it")
	}
}
