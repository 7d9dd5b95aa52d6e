package config

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v4"
)

// PolicyTest is questions and, where their file brings its own, the configuration whose rules they are asked of.
type PolicyTest struct {
	Config    *Config // nil: the file brings none
	Questions []Question
}

// LoadPolicyTest reads a file of policy tests: a list of Questions, or an archive (txtar) whose first file is a configuration,
// or rules alone, and whose files with a list are Questions. Files that the first includes are in the archive as well. The
// error is Errors, or that of reading the file.
func LoadPolicyTest(file string) (PolicyTest, error) {
	data, err := read(file)
	if err != nil {
		return PolicyTest{}, err
	}
	if !strings.HasSuffix(file, ".txtar") {
		questions, err := ParseQuestions(file, data)
		return PolicyTest{Questions: questions}, err
	}
	a := archive{file, txtar.Parse(data)}
	if len(a.Files) == 0 {
		return PolicyTest{}, Errors{{File: file, Message: "an archive has files, each below a line such as -- customhouse.yml --"}}
	}
	var t PolicyTest
	var errs []error
	for i, f := range a.Files {
		name := a.path(f.Name)
		if i == 0 {
			c, err := parse(a, name, f.Data, reading{})
			t.Config, errs = c, append(errs, err)
			continue
		}
		root, err := tree(name, f.Data, "")
		if err != nil || root.Kind != yaml.SequenceNode {
			continue // what else it is, those tell who include it
		}
		questions, err := readQuestions(name, root)
		t.Questions, errs = append(t.Questions, questions...), append(errs, err)
	}
	if err := joined(errs...); err != nil {
		return PolicyTest{}, err
	}
	if len(t.Questions) == 0 {
		return PolicyTest{}, Errors{{File: file, Message: noQuestions}}
	}
	return t, nil
}

// archive is the shelf of the files in a txtar archive, whose paths begin with that of the archive.
type archive struct {
	file string
	*txtar.Archive
}

var _ shelf = archive{}

func (a archive) path(name string) string { return a.file + "/" + name }

func (a archive) read(name string) ([]byte, error) {
	for _, f := range a.Files {
		if a.path(f.Name) == name {
			return f.Data, nil
		}
	}
	return nil, fs.ErrNotExist
}

func (a archive) glob(pattern string) ([]string, error) {
	var found []string
	for _, f := range a.Files {
		ok, err := path.Match(pattern, a.path(f.Name))
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, a.path(f.Name))
		}
	}
	slices.Sort(found)
	return found, nil
}

func (a archive) same(name string) string { return path.Clean(name) }
