package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"customhouse/config"
)

// manyRules are as many rules as a large organization has: teams with their repositories, tags, labels and addresses.
func manyRules(n int) string {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range n {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "  - {match: {account: user%d, name: \"team%d/**\"}, actions: [pull, push]}\n", i, i%1000)
		case 1:
			fmt.Fprintf(&b, "  - match: {labels: {group: team%d}, name: \"team%d/app%d\"}\n    actions: [pull]\n", i, i%1000, i)
		case 2:
			fmt.Fprintf(&b, "  - match: {name: \"team%d/*\", tag: \"v*\"}\n    effect: deny\n    actions: [update]\n", i%1000)
		case 3:
			fmt.Fprintf(&b, "  - match: {account: ci%d, ip: 10.%d.0.0/16, name: \"/team%d/(a|b)-.*/\"}\n    actions: [pull, create]\n    comment: of ci\n", i, i%256, i%1000)
		}
	}
	return b.String()
}

// BenchmarkLoad reads a configuration of 10,000 rules from one file and from a hundred.
func BenchmarkLoad(b *testing.B) {
	dir := b.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	write("one.yml", manyRules(10_000))
	for i := range 100 {
		write(fmt.Sprintf("rules%02d.yml", i), manyRules(100))
	}
	write("many.yml", "rules: [include: rules*.yml]\n")
	for _, name := range []string{"one", "many"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c, err := config.Load(filepath.Join(dir, name+".yml"))
				if err != nil || len(c.Rules) != 10_000 {
					b.Fatalf("Load = %v", err)
				}
				if _, err := c.Compile(c.Rules); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFormat formats 10,000 rules.
func BenchmarkFormat(b *testing.B) {
	text := []byte(manyRules(10_000))
	for b.Loop() {
		if _, err := config.Format("rules.yml", text); err != nil {
			b.Fatal(err)
		}
	}
}
