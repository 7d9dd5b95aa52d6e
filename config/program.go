package config

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"customhouse"
)

// ExecProgram is a section auth.exec or authorize.exec: a program that is started for each question, as docker_auth's
// ext_auth and ext_authz are. docs/programs.md has the protocol.
type ExecProgram struct {
	// The program: a path, or a name in PATH. Empty asks none.
	Command string `yaml:"command"`

	// Its arguments. Nothing of a question is ever among them.
	Args []string `yaml:"args"`

	// How long it may take, waiting for its turn included. Then it is killed, with all that it has started.
	Timeout time.Duration `yaml:"timeout"`

	// How many run at once.
	MaxProcesses int `yaml:"max_processes"`

	// How long it counts that it has said yes: nobody is asked the same again before. 0 asks each time.
	Cache time.Duration `yaml:"cache"`

	// How long it counts that it has said no.
	CacheDenied time.Duration `yaml:"cache_denied"`

	// Whether it gets PATH, LANG and the keys of environment only, not all of the environment that Customhouse has.
	CleanEnvironment bool `yaml:"clean_environment"`

	// Environment variables that it gets besides.
	Environment map[string]string `yaml:"environment"`

	// Whether account names with spaces in them are asked about, as docker_auth does. A script that reads words cannot tell
	// them from a name and the beginning of a password. Not in authorize, which asks about all names.
	AllowSpace bool `yaml:"allow_space"`
}

// WorkerProgram is a section auth.worker or authorize.worker: a program that keeps running and answers lines of JSON.
// docs/programs.md has the protocol.
type WorkerProgram struct {
	// The program: a path, or a name in PATH. Empty asks none.
	Command string `yaml:"command"`

	// Its arguments.
	Args []string `yaml:"args"`

	// How many of it run.
	Processes int `yaml:"processes"`

	// How many questions one of them may have at once. Programs that answer one after the other have 1.
	Pipeline int `yaml:"pipeline"`

	// How long an answer may take. Then the one that was asked is killed and started again.
	Timeout time.Duration `yaml:"timeout"`

	// How long it counts that it has said yes. 0 asks each time.
	Cache time.Duration `yaml:"cache"`

	// How long it counts that it has said no.
	CacheDenied time.Duration `yaml:"cache_denied"`

	// Whether it gets PATH, LANG and the keys of environment only, not all of the environment that Customhouse has.
	CleanEnvironment bool `yaml:"clean_environment"`

	// Environment variables that it gets besides.
	Environment map[string]string `yaml:"environment"`
}

// WebhookProgram is a section auth.webhook or authorize.webhook: a URL that questions are posted to as JSON.
// docs/programs.md has the protocol.
type WebhookProgram struct {
	// The URL. Empty asks none. Nothing is sent to where it redirects.
	URL string `yaml:"url"`

	// How long an answer may take, further attempts included.
	Timeout time.Duration `yaml:"timeout"`

	// How many further attempts there are when the server does not answer, or answers 408, 429, 502, 503 or 504.
	Retries int `yaml:"retries"`

	// How long it counts that it has said yes. 0 asks each time.
	Cache time.Duration `yaml:"cache"`

	// How long it counts that it has said no.
	CacheDenied time.Duration `yaml:"cache_denied"`

	// The secret that questions are signed with (header Customhouse-Signature), at least 16 bytes. Empty does not sign.
	Secret customhouse.Secret `yaml:"secret"`

	// The value of the header Authorization. Empty sends none.
	Authorization customhouse.Secret `yaml:"authorization"`

	// The PEM file with the certificate that is shown to the server, with key. It is read again when it changes.
	Certificate string `yaml:"certificate"`

	// The PEM file with the private key of certificate.
	Key string `yaml:"key"`

	// The PEM file with those who may have issued the server's certificate. Empty is whom the system trusts.
	CA string `yaml:"ca"`

	// Whether url may be http:// beyond loopback, so that passwords cross the network readable.
	AllowPlaintext bool `yaml:"allow_plaintext"`

	// Addresses (CIDR) that may be reached although they are link-local or a cloud's metadata service.
	AllowAddresses []string `yaml:"allow_addresses"`
}

// PluginProgram is a section auth.plugin or authorize.plugin: a WebAssembly module that is called in a sandbox.
// docs/programs.md has the interface.
type PluginProgram struct {
	// The file of the module. Empty asks none. It is read again when it changes.
	File string `yaml:"file"`

	// How long an answer may take.
	Timeout time.Duration `yaml:"timeout"`

	// How much memory an instance of it may have.
	Memory Size `yaml:"memory"`

	// How many questions it is asked at once, each of an instance of its own.
	Instances int `yaml:"instances"`

	// How long it counts that it has said yes. 0 asks each time.
	Cache time.Duration `yaml:"cache"`

	// How long it counts that it has said no.
	CacheDenied time.Duration `yaml:"cache_denied"`

	// The environment that it sees, and nothing else.
	Environment map[string]string `yaml:"environment"`
}

// programs are the sections of programs under auth or authorize.
type programs struct {
	exec    *ExecProgram
	worker  *WorkerProgram
	webhook *WebhookProgram
	plugin  *PluginProgram
}

// programs returns the sections by the key that they stand under.
func (c *Config) programs() map[string]programs {
	return map[string]programs{
		"auth":      {&c.Auth.Exec, &c.Auth.Worker, &c.Auth.Webhook, &c.Auth.Plugin},
		"authorize": {&c.Authorize.Exec, &c.Authorize.Worker, &c.Authorize.Webhook, &c.Authorize.Plugin},
	}
}

// Programs tells whether a program is asked who somebody is.
func (a Auth) Programs() bool {
	return a.Exec.Command != "" || a.Worker.Command != "" || a.Webhook.URL != "" || a.Plugin.File != ""
}

// setDefaults sets what holds where nothing else is said. Yes counts for as long as given.
func (s programs) setDefaults(yes, no time.Duration) {
	const timeout = 10 * time.Second
	*s.exec = ExecProgram{Timeout: timeout, MaxProcesses: 16, Cache: yes, CacheDenied: no, CleanEnvironment: true}
	*s.worker = WorkerProgram{Timeout: timeout, Processes: 2, Pipeline: 1, Cache: yes, CacheDenied: no, CleanEnvironment: true}
	*s.webhook = WebhookProgram{Timeout: timeout, Retries: 2, Cache: yes, CacheDenied: no}
	*s.plugin = PluginProgram{Timeout: time.Second, Memory: 64 << 20, Instances: 4, Cache: yes, CacheDenied: no}
}

// programPaths adds the values in sections of programs that are paths.
func (c *Config) programPaths(paths map[string]*string) {
	for section, s := range c.programs() {
		commandPath(paths, section+".exec", &s.exec.Command)
		commandPath(paths, section+".worker", &s.worker.Command)
		paths[section+".webhook.certificate"] = &s.webhook.Certificate
		paths[section+".webhook.key"] = &s.webhook.Key
		paths[section+".webhook.ca"] = &s.webhook.CA
		paths[section+".plugin.file"] = &s.plugin.File
	}
}

// commandPath adds the command of a section if it is a path: one without a slash is looked for in PATH.
func commandPath(paths map[string]*string, section string, command *string) {
	if strings.Contains(*command, "/") {
		paths[section+".command"] = command
	}
}

// commands yields why the commands that are configured cannot be started, by key; "" where they can.
func (c *Config) commands() map[string]string {
	why := map[string]string{}
	look := func(key, command string) {
		if command == "" {
			return
		}
		why[key+".command"] = Startable(command)
	}
	for section, s := range c.programs() {
		look(section+".exec", s.exec.Command)
		look(section+".worker", s.worker.Command)
	}
	for i, m := range c.Mirrors {
		look(fmt.Sprintf("mirrors[%d].exec", i), m.Exec.Command)
	}
	for i, r := range c.Replicate {
		look(fmt.Sprintf("replicate[%d].exec", i), r.Exec.Command)
	}
	return why
}

func (c *Config) checkPrograms(p *problems) {
	for _, section := range []string{"auth", "authorize"} {
		s := c.programs()[section]
		check := func(kind string, configured bool, timeout, cache, denied time.Duration, environment map[string]string) {
			key := section + "." + kind
			p.check(0 < timeout && timeout <= time.Hour, key+".timeout", "want 1ms to 1h")
			p.check(cache >= 0, key+".cache", "must not be negative")
			p.check(denied >= 0, key+".cache_denied", "must not be negative")
			for _, name := range slices.Sorted(maps.Keys(environment)) {
				p.check(name != "" && !strings.Contains(name, "="), join(key+".environment", name), "no name of a variable")
			}
			p.check(!configured || !c.Auth.Off, key, "has no effect with auth.off; remove one of them")
		}
		e, w, h, g := s.exec, s.worker, s.webhook, s.plugin
		check("exec", e.Command != "", e.Timeout, e.Cache, e.CacheDenied, e.Environment)
		check("worker", w.Command != "", w.Timeout, w.Cache, w.CacheDenied, w.Environment)
		check("webhook", h.URL != "", h.Timeout, h.Cache, h.CacheDenied, nil)
		check("plugin", g.File != "", g.Timeout, g.Cache, g.CacheDenied, g.Environment)
		between := func(key string, n, least, most int) {
			p.check(least <= n && n <= most, section+"."+key, fmt.Sprintf("want %d to %d", least, most))
		}
		between("exec.max_processes", e.MaxProcesses, 1, 1000)
		between("worker.processes", w.Processes, 1, 100)
		between("worker.pipeline", w.Pipeline, 1, 1000)
		between("webhook.retries", h.Retries, 0, 10)
		between("plugin.instances", g.Instances, 1, 1000)
		p.check(64<<10 <= g.Memory && g.Memory <= 4<<30, section+".plugin.memory", "want 64KiB to 4GiB")
		h.check(p, section+".webhook")
	}
	p.check(!c.Authorize.Exec.AllowSpace, "authorize.exec.allow_space", "is for auth.exec; here all names are asked about")
}

func (h *WebhookProgram) check(p *problems, key string) {
	if h.URL != "" {
		u, err := url.Parse(h.URL)
		switch {
		case err != nil || u.Scheme != "https" && u.Scheme != "http" || !isHost(u.Host):
			p.add(key+".url", "want a URL, such as https://auth.example.com/customhouse")
		case u.User != nil || u.Fragment != "":
			p.add(key+".url", "holds a name, a password or a fragment; a secret goes into authorization")
		case u.Scheme == "http" && !h.AllowPlaintext && !isLoopback(u.Hostname()):
			p.add(key+".url", "passwords would cross the network readable; use https, or allow_plaintext: true where the network is yours")
		}
	}
	p.check(h.Secret == "" || len(h.Secret) >= 16, key+".secret", "want at least 16 bytes")
	p.check(!strings.ContainsFunc(string(h.Authorization), func(r rune) bool { return r < ' ' || r > '~' }), key+".authorization", "want the characters of a header")
	p.check(h.Certificate == "" || h.Key != "", key+".certificate", "needs "+key+".key beside it")
	p.check(h.Key == "" || h.Certificate != "", key+".key", "needs "+key+".certificate beside it")
	for i, text := range h.AllowAddresses {
		_, err := netip.ParsePrefix(text)
		p.check(err == nil, fmt.Sprintf("%s.allow_addresses[%d]", key, i), "want addresses in CIDR form, such as 169.254.7.0/24")
	}
}
