package compat

import (
	"strings"

	"customhouse/config"
)

// programs translates the sections ext_auth, ext_authz, plugin_authn and plugin_authz.
func (t *dockerTranslation) programs() {
	if e := t.from.Ext; e != nil {
		t.program("ext_auth", e, &t.to.Auth.Exec)
		t.deviation("A6", "", "ext_auth", "is not asked about who names an account without a password, nor about who names none; "+
			"customhouse: {auth: {anonymous: true}} lets these in, to do what the rules say")
		t.deviation("A10", "customhouse: {auth: {exec: {allow_space: true, timeout: 1h, max_processes: 1000, cache: 0s}}}", "ext_auth",
			"is asked once a minute at most for the same name and password, 16 at once, for 10 s each, and not about names with white space")
	}
	if e := t.from.ExtZ; e != nil {
		t.program("ext_authz", e, &t.to.Authorize.Exec)
		t.deviation("A10", "customhouse: {authorize: {exec: {timeout: 1h, max_processes: 1000, cache: 0s, cache_denied: 0s}}}", "ext_authz",
			"is asked once in ten seconds at most for the same question, 16 at once, for 10 s each")
	}
	t.plugin("plugin_authn", "auth", t.from.PluginN)
	t.plugin("plugin_authz", "authorize", t.from.PluginZ)
}

// program translates the program of a section. It has all of our environment, as there.
func (t *dockerTranslation) program(section string, from *dockerExt, to *config.ExecProgram) {
	key := section + ".command"
	t.require(key, from.Command != "")
	to.Command, to.Args, to.CleanEnvironment = from.Command, from.Args, false
	if strings.Contains(from.Command, "/") { // else it is looked for in $PATH
		to.Command = t.absolute(from.Command)
	}
	if from.Command == "" || !t.checkFiles {
		return
	}
	if why := config.Startable(to.Command); why != "" {
		t.wrong(key, why)
	}
}

// plugin refuses a plugin of Go, which no binary but the one that it was built with can load.
func (t *dockerTranslation) plugin(section, native string, p *dockerPlugin) {
	if p == nil {
		return
	}
	t.wrong(section, "a plugin of Go cannot be loaded by a static program, and docker_auth's image could not either; "+
		"make of it a WebAssembly module or a worker and write customhouse: {"+native+": {plugin: ...}} or {worker: ...} in its place")
}
