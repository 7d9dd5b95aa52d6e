package config_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"customhouse/config"
)

// What the pages show as YAML is a configuration, as it stands there, but for what goes into a file of docker_auth. Blocks that
// name their file are run with the commands beside them, by cmd/customhouse.
func TestPagesAreRight(t *testing.T) {
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range block.FindAllSubmatch(text, -1) {
			if bytes.HasPrefix(m[1], []byte("customhouse:\n")) {
				continue
			}
			found++
			if _, err := config.Parse(fmt.Sprintf("%s#%d", page, i+1), m[1]); err != nil {
				t.Errorf("Parse = %v for\n%s", err, m[1])
			}
		}
	}
	if found < 20 {
		t.Errorf("the pages show %d configurations, want all of them", found)
	}
}
