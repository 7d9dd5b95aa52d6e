package web_test

import (
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"customhouse/authn"
	"customhouse/web"
)

func TestPasswords(t *testing.T) {
	h, s := onStage(t, nil)
	c := h.client(t)
	if a := c.get("/ui/"); a.StatusCode != 200 || !strings.Contains(a.body, "Continue with Stage") {
		t.Fatalf("GET /ui/ = %d\n%s", a.StatusCode, a.body)
	}
	c.signIn()
	one, two := c.password("laptop"), c.password("ci")
	for _, p := range []string{one, two} {
		if status, _ := h.login(t, "alice", p); status != 200 {
			t.Fatalf("login = %d, want 200", status)
		}
	}
	page := c.get("/ui/").body
	if strings.Contains(page, one) || !strings.Contains(page, "laptop") || !strings.Contains(page, "<code class=\"label\">ci</code>") {
		t.Fatalf("the page\n%s", page)
	}
	_, bearer := h.login(t, "alice", two)
	if status := h.pull(t, bearer); status != 404 {
		t.Fatalf("pull = %d, want to be let in", status)
	}
	id := regexp.MustCompile(`(?s)<td>ci</td>.*?name="id" value="([^"]+)"`).FindStringSubmatch(page)
	if id == nil {
		t.Fatalf("no way to revoke ci:\n%s", page)
	}
	if a := c.do("POST", "/ui/revoke", url.Values{"id": {id[1]}}, nil); a.StatusCode != 303 {
		t.Fatalf("revoke = %d %s", a.StatusCode, a.body)
	}
	if status, _ := h.login(t, "alice", two); status != 401 {
		t.Fatalf("login with a revoked password = %d, want 401", status)
	}
	if status := h.pull(t, bearer); status != 401 {
		t.Fatalf("pull with the token of a revoked password = %d, want 401", status)
	}
	if status, _ := h.login(t, "alice", one); status != 200 {
		t.Fatalf("login with the other password = %d, want 200", status)
	}
	s.with(func() { s.err = errors.New("connection refused") })
	h.later(2 * time.Hour)
	if status, _ := h.login(t, "alice", one); status != 503 {
		t.Fatalf("login while the provider is down = %d, want 503", status)
	}
	if a := c.get("/ui/"); a.StatusCode != 503 || strings.Contains(a.body, "refused") {
		t.Fatalf("GET /ui/ while the provider is down = %d\n%s", a.StatusCode, a.body)
	}
	s.with(func() { s.err = &authn.NotVouched{Reason: "left"} })
	h.later(time.Minute)
	if status, _ := h.login(t, "alice", one); status != 401 {
		t.Fatalf("login after having left = %d, want 401", status)
	}
	if a := c.get("/ui/"); a.StatusCode != 200 || strings.Contains(a.body, "alice") {
		t.Fatalf("GET /ui/ after having left = %d\n%s", a.StatusCode, a.body)
	}

	s.with(func() { s.err = nil })
	c.signIn()
	if status, _ := h.login(t, "alice", one); status != 200 {
		t.Fatalf("login after having come back = %d, want 200", status)
	}
	h.later(31 * 24 * time.Hour)
	if status, _ := h.login(t, "alice", one); status != 401 {
		t.Fatalf("login with an expired password = %d, want 401", status)
	}
}

// The audit log has who came, who made and revoked a password, and from where.
func TestPagesAreAccountedFor(t *testing.T) {
	h, s := onStage(t, nil)
	c := h.client(t)
	c.signIn()
	c.password("laptop")
	id := regexp.MustCompile(`name="id" value="([^"]+)"`).FindStringSubmatch(c.get("/ui/").body)
	if a := c.do("POST", "/ui/revoke", url.Values{"id": {id[1]}}, nil); a.StatusCode != 303 {
		t.Fatalf("revoke = %d %s", a.StatusCode, a.body)
	}
	c.signIn() // is nothing new
	s.with(func() { s.who.Account = "alicia" })
	c.signIn()
	notes, err := h.index.AuditNotes(t.Context(), 0, 10)
	must(t, err)
	want := []string{"alice: sign-in at oidc made", "alice: app password " + id[1] + " made", "alice: app password " + id[1] + " revoked", "alicia: sign-in at oidc renamed from alice"}
	if len(notes) != len(want) {
		t.Fatalf("notes = %+v, want %q", notes, want)
	}
	for i, n := range notes {
		if got := n.Entry.Account + ": " + n.Entry.Detail; !strings.HasPrefix(got, want[i]) || n.Entry.Client != "127.0.0.1" {
			t.Errorf("note %q from %s, want %q from 127.0.0.1", got, n.Entry.Client, want[i])
		}
	}
}

// The longest lifetime need not be one of whole days.
func TestLongestLifetime(t *testing.T) {
	h, _ := onStage(t, func(o *web.Options) { o.LongestFor = 29*24*time.Hour + time.Hour })
	c := h.client(t)
	c.signIn()
	p := c.password("laptop") // for 30 days
	for _, tt := range []struct {
		after time.Duration
		want  int
	}{{29 * 24 * time.Hour, 200}, {2 * time.Hour, 401}} {
		h.later(tt.after)
		if status, _ := h.login(t, "alice", p); status != tt.want {
			t.Errorf("login after another %v = %d, want %d", tt.after, status, tt.want)
		}
	}
}

func TestFormMistakes(t *testing.T) {
	h, _ := onStage(t, func(o *web.Options) { o.LongestFor = 100 * 24 * time.Hour })
	c := h.client(t)
	c.signIn()
	for _, form := range []url.Values{
		{}, {"name": {""}, "days": {"30"}}, {"name": {"  "}, "days": {"30"}}, {"name": {strings.Repeat("x", 65)}, "days": {"30"}},
		{"name": {"a\nb"}, "days": {"30"}}, {"name": {"a\xff"}, "days": {"30"}}, {"name": {"a"}}, {"name": {"a"}, "days": {"x"}},
		{"name": {"a"}, "days": {"-1"}}, {"name": {"a"}, "days": {"0"}}, {"name": {"a"}, "days": {"101"}}, {"name": {"a"}, "days": {"99999999999999999999"}},
	} {
		if a := c.do("POST", "/ui/passwords", form, nil); a.StatusCode != 400 || passwordIn.MatchString(a.body) || !strings.Contains(a.body, `role="alert"`) {
			t.Errorf("make a password of %v = %d", form, a.StatusCode)
		}
	}
	if a := c.do("POST", "/ui/passwords", url.Values{"name": {strings.Repeat("x", 1<<20)}}, nil); a.StatusCode != 400 {
		t.Errorf("a form of a megabyte = %d, want 400", a.StatusCode)
	}
	if a := c.get("/ui/"); !strings.Contains(a.body, "90 days") || strings.Contains(a.body, "180 days") || strings.Contains(a.body, ">ever<") {
		t.Errorf("the lifetimes that are offered:\n%s", a.body)
	}
}

// TestS45_State: a callback ends the sign-in that the same browser has begun, once, or nothing.
func TestS45_State(t *testing.T) {
	h, _ := onStage(t, nil)
	back := func(c *client, q url.Values) answer { return c.get("/ui/callback/oidc?" + q.Encode()) }
	for name, change := range map[string]func(*client, url.Values){
		"absent":               func(_ *client, q url.Values) { q.Del("state") },
		"empty":                func(_ *client, q url.Values) { q.Set("state", "") },
		"another":              func(_ *client, q url.Values) { q.Set("state", "x"+q.Get("state")) },
		"twice":                func(_ *client, q url.Values) { q.Add("state", q.Get("state")) },
		"two codes":            func(_ *client, q url.Values) { q.Add("code", "good") },
		"no code":              func(_ *client, q url.Values) { q.Del("code") },
		"another issuer":       func(_ *client, q url.Values) { q.Set("iss", "https://evil.example") },
		"another browser":      func(c *client, _ url.Values) { c.http = h.client(t).http },
		"of an attacker":       func(c *client, _ url.Values) { o := h.client(t); o.begin(); c.http = o.http },
		"cookie changed":       func(c *client, _ url.Values) { tamper(t, c) },
		"after eleven minutes": func(*client, url.Values) { h.later(11 * time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			c := h.client(t)
			q := url.Values{"state": {c.begin().Get("state")}, "code": {"good"}}
			change(c, q)
			if a := back(c, q); a.StatusCode != 400 {
				t.Fatalf("callback = %d, want 400", a.StatusCode)
			}
			if a := c.get("/ui/"); strings.Contains(a.body, "alice") {
				t.Fatal("somebody is signed in")
			}
		})
	}
	t.Run("replayed", func(t *testing.T) {
		c := h.client(t)
		q := url.Values{"state": {c.begin().Get("state")}, "code": {"good"}}
		u, _ := url.Parse(h.URL)
		kept := c.http.Jar.Cookies(u)
		if a := back(c, q); a.StatusCode != 303 {
			t.Fatalf("callback = %d", a.StatusCode)
		}
		if a := back(c, q); a.StatusCode != 400 {
			t.Fatalf("callback again = %d, want 400", a.StatusCode)
		}
		other := h.client(t)
		other.http.Jar.SetCookies(u, kept)
		if a := back(other, q); a.StatusCode != 400 {
			t.Fatalf("callback with the same cookie = %d, want 400", a.StatusCode)
		}
	})
	t.Run("refused", func(t *testing.T) {
		for _, q := range []url.Values{{"error": {"access_denied"}}, {"code": {"bad"}}} {
			c := h.client(t)
			q.Set("state", c.begin().Get("state"))
			if a := back(c, q); a.StatusCode != 403 {
				t.Fatalf("callback with %v = %d, want 403", q, a.StatusCode)
			}
		}
	})
	if log := h.log.String(); strings.Contains(log, "good") {
		t.Fatalf("a code is in the log:\n%s", log)
	}
}

// tamper changes a character of every cookie.
func tamper(t *testing.T, c *client) {
	u, err := url.Parse(c.base)
	must(t, err)
	for _, k := range c.http.Jar.Cookies(u) {
		b := []byte(k.Value)
		b[len(b)/2] ^= 1
		k.Value, k.Path = string(b), "/"
		c.http.Jar.SetCookies(u, []*http.Cookie{k})
	}
}

// TestS46_OpenRedirects: no parameter and no path leads to another origin.
func TestS46_OpenRedirects(t *testing.T) {
	h, _ := onStage(t, func(o *web.Options) { o.DockerAuth = true })
	targets := []string{
		"//e", "///e", "////e", `/\e`, `\/e`, `\\e`, "https:e", "https:/e", "https://e", "http://e", "//e/ui/", "/%2fe", "/%5ce", "%2f%2fe", "%5c%5ce",
		"@e", "//@e", "//a@e", "https://127.0.0.1@e", "/\te", "\t//e", "/\n/e", "\n//e", "\r\n//e", " //e", "//e%00", "/%09/e", "/%0a/e", "/%0d/e",
		".//e", "..//e", "/..//e", "/.//e", "/;//e", "//e;", "//e?", "//e#", "?//e", "#//e", "javascript:alert(1)", "JaVaScRiPt:alert(1)",
		"data:text/html,x", "vbscript:x", "file:///e", "ftp://e", "//[::1]", "//0x7f.1", "//2130706433", "/ui/../..//e", "/ui//e", "/ui/%2e%2e//e",
		"https://e%2f@127.0.0.1", "//e%2f..", "／／e", "/／e", "//ｅ", "//e.", "//%65", "http:///e", "https:///e", "http:\\\\e",
	}
	if len(targets) < 60 {
		t.Fatalf("%d payloads, want 60", len(targets))
	}
	here := func(what, location string) {
		t.Helper()
		if location == "" {
			return
		}
		u, err := url.Parse(location)
		if err != nil || u.IsAbs() && u.Host != "id.example" || !u.IsAbs() && (u.Host != "" || location != "/ui/") {
			t.Errorf("%s leads to %q", what, location)
		}
	}
	c := h.client(t)
	c.signIn()
	for _, target := range targets {
		for _, path := range []string{"/ui", "/ui/", "/ui/sign-in/oidc", "/ui/callback/oidc", "/ui/passwords", "/oidc_auth", "/"} {
			q := url.Values{}
			for _, name := range []string{"next", "return_to", "redirect", "redirect_uri", "redirect_url", "callback_ui", "back", "url", "continue", "rd", "state", "iss"} {
				q.Set(name, target)
			}
			a := c.get(path + "?" + q.Encode())
			here(path+" with "+target, a.Header.Get("Location"))
			if u, err := url.Parse(a.Header.Get("Location")); err == nil && u.Host == "id.example" && u.Query().Get("redirect_uri") != h.URL+"/oidc_auth" {
				t.Errorf("%s with %q sends the browser back to %q", path, target, u.Query().Get("redirect_uri"))
			}
		}
		r, err := http.NewRequest("GET", h.URL, nil)
		must(t, err)
		r.URL.Opaque = "//" + r.URL.Host + "/" + strings.NewReplacer("\t", "%09", "\n", "%0a", "\r", "%0d", " ", "%20", `\`, "%5c", "#", "%23").Replace(target)
		res, err := c.http.Do(r)
		if err != nil {
			continue // it cannot be asked
		}
		res.Body.Close()
		here("the path "+target, res.Header.Get("Location"))
	}
	for _, host := range []string{"evil.example\\@x", "a b", "evil.example/x", "x\tx", "evil.example?x"} {
		r, err := http.NewRequest("GET", h.URL+"/ui/sign-in/oidc", nil)
		must(t, err)
		r.Host = host
		if res, err := c.http.Do(r); err == nil {
			res.Body.Close()
			if res.StatusCode != 400 {
				t.Errorf("the host %q = %d, want 400", host, res.StatusCode)
			}
		}
	}
}

// TestS48_Sessions: the attributes of cookies, a new one at sign-in, its end at sign-out, and requests of other sites.
func TestS48_Sessions(t *testing.T) {
	h, _ := onStage(t, nil)
	c := h.client(t)
	u, err := url.Parse(h.URL)
	must(t, err)
	session := func() string {
		for _, k := range c.http.Jar.Cookies(u) {
			if k.Name == "customhouse" {
				return k.Value
			}
		}
		return ""
	}
	c.signIn()
	first := session()
	c.signIn()
	second := session()
	if first == "" || first == second {
		t.Fatalf("the session is %q after %q", second, first)
	}
	old := func(value string) answer {
		o := h.client(t)
		return o.do("GET", "/ui/", nil, http.Header{"Cookie": {"customhouse=" + value}})
	}
	if strings.Contains(old(first).body, "alice") {
		t.Fatal("the session from before the sign-in is good")
	}
	if !strings.Contains(old(second).body, "alice") {
		t.Fatal("the present session is not good")
	}
	if a := c.do("GET", "/v2/", nil, nil); a.StatusCode != 401 {
		t.Fatalf("GET /v2/ with a session = %d, want 401", a.StatusCode)
	}

	for name, header := range map[string]http.Header{
		"cross-site": {"Sec-Fetch-Site": {"cross-site"}}, "same-site": {"Sec-Fetch-Site": {"same-site"}},
		"origin": {"Origin": {"https://evil.example"}, "Sec-Fetch-Site": nil}, "null": {"Origin": {"null"}, "Sec-Fetch-Site": nil},
	} {
		for _, path := range []string{"/ui/passwords", "/ui/revoke", "/ui/sign-out"} {
			if a := c.do("POST", path, url.Values{"name": {"x"}, "days": {"1"}, "id": {"x"}}, header); a.StatusCode != 403 {
				t.Errorf("POST %s, %s = %d, want 403", path, name, a.StatusCode)
			}
		}
	}
	for _, method := range []string{"PUT", "DELETE", "PATCH"} {
		for _, path := range []string{"/ui/", "/ui/passwords", "/ui/revoke", "/ui/sign-out"} {
			if a := c.do(method, path, url.Values{}, nil); a.StatusCode != 405 {
				t.Errorf("%s %s = %d, want 405", method, path, a.StatusCode)
			}
		}
	}
	if a := c.do("POST", "/ui/sign-out", url.Values{}, nil); a.StatusCode != 303 {
		t.Fatalf("sign out = %d", a.StatusCode)
	}
	if strings.Contains(old(second).body, "alice") {
		t.Fatal("the session is good after the sign-out")
	}
	for _, path := range []string{"/ui/passwords", "/ui/revoke"} {
		if a := c.do("POST", path, url.Values{"name": {"x"}, "days": {"1"}}, nil); a.StatusCode != 401 {
			t.Errorf("POST %s without a session = %d, want 401", path, a.StatusCode)
		}
	}

	secure, _ := onStage(t, func(o *web.Options) { o.Secure = true })
	sc := secure.client(t)
	begin := sc.get("/ui/sign-in/oidc")
	attempt := begin.Cookies()[0]
	to, _ := url.Parse(begin.Header.Get("Location"))
	done := sc.do("GET", "/ui/callback/oidc?"+url.Values{"state": {to.Query().Get("state")}, "code": {"good"}}.Encode(), nil,
		http.Header{"Cookie": {attempt.Name + "=" + attempt.Value}})
	cookies := append(done.Cookies(), attempt)
	if done.StatusCode != 303 || len(cookies) != 3 {
		t.Fatalf("callback = %d with %v", done.StatusCode, cookies)
	}
	for _, k := range cookies {
		if !strings.HasPrefix(k.Name, "__Host-") || !k.Secure || !k.HttpOnly || k.SameSite != http.SameSiteLaxMode || k.Path != "/" || k.Domain != "" {
			t.Errorf("the cookie %v", k)
		}
	}
}

// TestS49_Markup: what comes from elsewhere is text on every page.
func TestS49_Markup(t *testing.T) {
	h, s := onStage(t, nil)
	payloads := []string{
		`<script>alert(1)</script>`, `<img src=x onerror=alert(1)>`, `"><svg onload=alert(1)>`, `'><script>alert(1)</script>`, `</code><script>alert(1)</script>`,
		`</title><script>alert(1)</script>`, `javascript:alert(1)`, `<a href="javascript:alert(1)">x</a>`, `{{constructor.constructor('alert(1)')()}}`, `${alert(1)}`,
		`<iframe srcdoc="<script>alert(1)</script>">`, `<math><mi xlink:href="data:x,<script>alert(1)</script>">`, "<style>@import'//e'</style>", `<!--<script>-->`,
		`" autofocus onfocus=alert(1) x="`, `' onmouseover='alert(1)`, "`onerror=alert(1)`", `<base href=//e>`, `<meta http-equiv=refresh content=0;//e>`, `<form action=//e>`,
		`<div hx-get="//e" hx-trigger="load">`, `<b hx-on:click="alert(1)">`, `&lt;script&gt;`, `&#60;script&#62;`, `<scr<script>ipt>`, `%3Cscript%3E`,
		`<ScRiPt>alert(1)</ScRiPt>`, `<svg/onload=alert(1)>`, `<object data=//e>`, `<embed src=//e>`, `<link rel=stylesheet href=//e>`, `=cmd|'/c calc'!A0`, `<x onclick=alert(1)>`,
		`<input autofocus onfocus=alert(1)>`, `<details open ontoggle=alert(1)>`, `<video><source onerror=alert(1)>`, `<body onload=alert(1)>`, `<marquee onstart=alert(1)>`,
		`<button formaction=javascript:alert(1)>`, `<textarea></textarea><script>alert(1)</script>`, `]]><script>alert(1)</script>`, `<?xml?><script/>`, `\"><script>alert(1)</script>`,
		`<a title="x" href=//e>`, `<table background=//e>`, `<isindex action=//e>`, `<noscript><p title="</noscript><script>alert(1)</script>">`, `<template><script>1</script></template>`,
		`<img src="x` + "`" + `onerror=alert(1)">`, `<plaintext>`, `<xmp><script>alert(1)</script></xmp>`,
	}
	if len(payloads) < 50 {
		t.Fatalf("%d payloads, want 50", len(payloads))
	}
	c := h.client(t)
	for i, p := range payloads {
		account := strings.Map(func(r rune) rune {
			if r == ' ' || r == ':' {
				return '_'
			}
			return r
		}, p)
		s.with(func() {
			s.who = authn.Person{Issuer: "https://id.example", Subject: fmt.Sprint(i), Account: account, Labels: map[string][]string{p: {p}}}
		})
		c.signIn()
		pages := []answer{
			c.do("POST", "/ui/passwords", url.Values{"name": {p[:min(len(p), 64)]}, "days": {"30"}}, nil),
			c.get("/ui/"), c.get("/ui/callback/oidc?error=" + url.QueryEscape(p)),
		}
		state := c.begin().Get("state")
		pages = append(pages, c.get("/ui/callback/oidc?"+url.Values{"state": {state}, "error": {p}}.Encode()))
		s.with(func() { s.err = &authn.NotVouched{Reason: p} })
		state = c.begin().Get("state")
		pages = append(pages, c.get("/ui/callback/oidc?"+url.Values{"state": {state}, "code": {"good"}}.Encode()))
		s.with(func() { s.err = nil })
		for j, a := range pages {
			if strings.ContainsAny(p, `<"'&`) && strings.Contains(a.body, p) && html.EscapeString(p) != p {
				t.Errorf("page %d has %q as it is", j, p)
			}
			if !strings.Contains(a.Header.Get("Content-Type"), "text/html") || a.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("page %d has the headers %v", j, a.Header)
			}
			csp := a.Header.Get("Content-Security-Policy")
			if !strings.Contains(csp, "default-src 'self'") || strings.Contains(csp, "unsafe") || !strings.Contains(csp, "frame-ancestors 'none'") {
				t.Errorf("page %d has the policy %q", j, csp)
			}
		}
	}
	if page := c.get("/ui/"); regexp.MustCompile(`(?i) on[a-z]+=|<style|style=|<script>`).MatchString(stripText(page.body)) {
		t.Errorf("a page has code of its own:\n%s", page.body)
	}
}

// stripText leaves the tags that a page has, without the values of their attributes.
func stripText(page string) string {
	return regexp.MustCompile(`"[^"]*"`).ReplaceAllString(strings.Join(regexp.MustCompile(`<[^>]*>`).FindAllString(page, -1), ""), `""`)
}

// The command is pasted into a terminal.
func TestCommandIsQuoted(t *testing.T) {
	h, s := onStage(t, func(o *web.Options) { o.Registry = "registry.example.com:5000" })
	for account, want := range map[string]string{
		"alice@example.com": "alice@example.com", "a;reboot": "'a;reboot'", "$(reboot)": "'$(reboot)'", "a'b": `'a'\''b'`, "-p": "'-p'", "`id`": "'`id`'", "a&b": "'a&b'",
	} {
		s.with(func() { s.who.Account, s.who.Subject = account, account })
		c := h.client(t)
		c.signIn()
		a := c.do("POST", "/ui/passwords", url.Values{"name": {"x"}, "days": {"0"}}, nil)
		if !strings.Contains(html.UnescapeString(a.body), "docker login registry.example.com:5000 -u "+want+" -p chp_") {
			t.Errorf("the command for %q is not quoted as %q:\n%s", account, want, a.body)
		}
	}
}

// TestDockerAuthPaths: docker_auth's addresses lead to the same pages.
func TestDockerAuthPaths(t *testing.T) {
	h, _ := onStage(t, func(o *web.Options) { o.DockerAuth, o.Prefix = true, "/registry" })
	c := h.client(t)
	if a := c.get("/registry/"); a.StatusCode != 303 || a.Header.Get("Location") != "/registry/ui/" {
		t.Fatalf("GET /registry/ = %d to %s", a.StatusCode, a.Header.Get("Location"))
	}
	if a := c.get("/registry/oidc_auth"); a.StatusCode != 200 || !strings.Contains(a.body, `href="/registry/ui/sign-in/oidc"`) {
		t.Fatalf("GET /registry/oidc_auth = %d\n%s", a.StatusCode, a.body)
	}
	for _, path := range []string{"/oidc_auth", "/registry/github_auth", "/registry/ui/sign-in/github", "/ui/"} {
		if a := c.get(path); a.StatusCode != 404 {
			t.Errorf("GET %s = %d, want 404", path, a.StatusCode)
		}
	}
	begin := c.get("/registry/ui/sign-in/oidc")
	to, _ := url.Parse(begin.Header.Get("Location"))
	if to.Query().Get("redirect_uri") != h.URL+"/registry/oidc_auth" {
		t.Fatalf("begin = %s", to)
	}
	a := c.get("/registry/oidc_auth?" + url.Values{"state": {to.Query().Get("state")}, "code": {"good"}}.Encode())
	if a.StatusCode != 303 || a.Header.Get("Location") != "/registry/ui/" {
		t.Fatalf("GET /registry/oidc_auth?code= = %d to %s", a.StatusCode, a.Header.Get("Location"))
	}
	if a := c.get("/registry/ui/"); !strings.Contains(a.body, "alice") {
		t.Fatalf("GET /registry/ui/ = %d\n%s", a.StatusCode, a.body)
	}
}

// A browser that came by another name than the one that the provider knows begins anew there.
func TestPublicURL(t *testing.T) {
	h, _ := onStage(t, func(o *web.Options) { o.Public = &url.URL{Scheme: "https", Host: "registry.example.com"} })
	a := h.client(t).get("/ui/sign-in/oidc")
	there, err := url.Parse(a.Header.Get("Location"))
	must(t, err)
	if a.StatusCode != 303 || there.Scheme != "https" || there.Host != "registry.example.com" || there.Path != "/ui/sign-in/oidc" {
		t.Fatalf("begin = %d to %s", a.StatusCode, there)
	}
	// It is there by now, whatever host a proxy writes, or the browser, which leaves out the port of https.
	a = h.client(t).get(there.RequestURI())
	if there, err = url.Parse(a.Header.Get("Location")); err != nil || there.Host != "id.example" {
		t.Fatalf("begin anew = %d to %s", a.StatusCode, there)
	}
}

func TestAssets(t *testing.T) {
	h, _ := onStage(t, nil)
	c := h.client(t)
	found := regexp.MustCompile(`(?:src|href)="(/ui/[a-z.]+\?v=[0-9a-f]+)"`).FindAllStringSubmatch(c.get("/ui/").body, -1)
	if len(found) < 4 {
		t.Fatalf("the page loads %v", found)
	}
	for _, f := range found {
		a := c.get(f[1])
		if a.StatusCode != 200 || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") || a.Header.Get("Set-Cookie") != "" || strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
			t.Errorf("GET %s = %d with %v", f[1], a.StatusCode, a.Header)
		}
	}
}
