package compat

import (
	"os/exec"
	"path/filepath"
	"strings"
)

// programs translates the sections ext_auth, ext_authz, plugin_authn and plugin_authz.
func (t *dockerTranslation) programs() {
	if e := t.from.Ext; e != nil {
		t.command("ext_auth", e)
	}
	if e := t.from.ExtZ; e != nil {
		t.command("ext_authz", e)
	}
	t.plugin("plugin_authn", "auth", t.from.PluginN)
	t.plugin("plugin_authz", "authorize", t.from.PluginZ)
}

// command returns the program of a section, absolute unless it is looked up in $PATH.
func (t *dockerTranslation) command(section string, e *dockerExt) string {
	key := section + ".command"
	if e.Command == "" {
		t.wrong(key, "is required")
		return ""
	}
	command := e.Command
	if strings.Contains(command, "/") && !filepath.IsAbs(command) {
		command = filepath.Join(t.dir, command)
	}
	if t.checkFiles {
		if _, err := exec.LookPath(command); err != nil {
			t.wrong(key, "cannot be run: no such program, or no permission to execute it")
		}
	}
	return command
}

// plugin refuses a plugin of Go, which no binary but the one that it was built with can load.
func (t *dockerTranslation) plugin(section, native string, p *dockerPlugin) {
	if p == nil {
		return
	}
	t.wrong(section, "a plugin of Go cannot be loaded by a static program, and docker_auth's image could not either; "+
		"make of it a WebAssembly module or a worker and write customhouse: {"+native+": {plugin: ...}} or {worker: ...} in its place")
}
