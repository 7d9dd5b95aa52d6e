package config

import (
	"errors"
	"maps"
	"path/filepath"

	"customhouse/policy"
)

// readShadow reads the file of the shadow policy of c, whose own file d has read. The error is Errors.
func (c *Config) readShadow(s shelf, d *decoder) error {
	if c.Shadow == "" {
		return nil
	}
	if !filepath.IsAbs(c.Shadow) {
		c.Shadow = filepath.Join(filepath.Dir(d.file), c.Shadow)
	}
	if c.Auth.Off {
		d.report("shadow", "has no effect with auth.off; remove one of them")
		return nil
	}
	data, err := s.read(c.Shadow)
	if err != nil {
		d.report("shadow", "cannot read the file: "+withoutPath(err))
		return nil
	}
	c.Shadowed, err = parse(s, c.Shadow, data, reading{shadowOf: c})
	return err
}

// inherit takes the sets of the configuration that c belongs to, where c has none of that name, and its dialect.
func (c *Config) inherit(from *Config, d *decoder) {
	if !d.has("dialect") {
		c.Dialect, c.CompatRawPlaceholders = from.Dialect, from.CompatRawPlaceholders
	}
	if c.Dialect == DialectDockerAuth || len(from.Sets) == 0 {
		return
	}
	sets := map[string]policy.Values{}
	maps.Copy(sets, from.Sets)
	maps.Copy(sets, c.Sets)
	c.Sets = sets
}

// joined returns all of what is wrong, as Errors; nil if nothing is.
func joined(all ...error) error {
	var errs Errors
	for _, err := range all {
		var some Errors
		if errors.As(err, &some) {
			errs = append(errs, some...)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return errs[:min(len(errs), maxErrors)]
}
