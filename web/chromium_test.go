package web_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"

	"customhouse/authn"
)

// browsers are where Debian has Chromium without a screen.
var browsers = []string{"/usr/bin/chromium-headless-shell", "/usr/lib/chromium/chromium-headless-shell"}

// chromium starts a browser. Without one the test is skipped, or fails if CUSTOMHOUSE_REQUIRE_TOOLS=1 promises one.
func chromium(t *testing.T) context.Context {
	t.Helper()
	for _, path := range browsers {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		allocator, stop := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
			chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true), chromedp.WindowSize(1000, 860),
			chromedp.UserDataDir(t.TempDir()))...)
		t.Cleanup(stop)
		ctx, end := chromedp.NewContext(allocator)
		t.Cleanup(end)
		do(t, ctx, "start the browser")
		return ctx
	}
	if os.Getenv("CUSTOMHOUSE_REQUIRE_TOOLS") == "1" {
		t.Fatal("no chromium-headless-shell; e2e/install installs it")
	}
	t.Skip("no chromium-headless-shell; e2e/install installs it")
	return nil
}

// do carries out steps, which have half a minute together.
func do(t *testing.T, ctx context.Context, what string, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if what != "start the browser" { // its process would end with the context of the first steps
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
	}
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// read returns the text of an element.
func read(t *testing.T, ctx context.Context, selector string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Text(selector))
	if err != nil {
		t.Fatalf("read %s: %v", selector, err)
	}
	return text
}

// provider starts a real OpenID provider for a registry at base. Its person is test-user@localhost, password verysecure.
func provider(t *testing.T, base string) authn.Provider {
	t.Helper()
	var handler http.Handler
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(s.Close)
	issuer := strings.Replace(s.URL, "127.0.0.1", "localhost", 1) + "/"
	storage.RegisterClients(storage.WebClient("web", "secret", base+"/ui/callback/oidc"))
	handler = exampleop.SetupServer(issuer, storage.NewStorage(storage.NewUserStore(issuer)), nil, false)
	p, err := authn.NewOIDC(authn.OIDCOptions{
		Title: "Zitadel", Issuer: issuer, ClientID: "web", ClientSecret: "secret", AccountClaim: "preferred_username",
		Scopes: []string{"openid", "profile", "email", "offline_access"}, Labels: map[string]string{"locale": "locale", "verified": "email_verified"},
	})
	must(t, err)
	return p
}

// picture keeps what the browser shows in a folder that CUSTOMHOUSE_PICTURES names, for people to look at.
func picture(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	folder := os.Getenv("CUSTOMHOUSE_PICTURES")
	if folder == "" {
		return
	}
	for _, scheme := range []string{"light", "dark"} {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		must(t, err)
		png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(folder, name+"-"+scheme+".png"), png, 0o600))
	}
}

// TestBrowser is the whole way of a person: sign in at a real provider, make a password, log in with it as docker does,
// revoke it, sign out.
func TestBrowser(t *testing.T) {
	ctx := chromium(t)
	h := open(t, func(base string) authn.Provider { return provider(t, base) }, nil)

	do(t, ctx, "open the page", chromedp.Navigate(h.URL+"/ui/"), chromedp.WaitVisible("#sign-in-oidc"))
	picture(t, ctx, "choose")
	do(t, ctx, "sign in", chromedp.Click("#sign-in-oidc"), chromedp.WaitVisible("#username"),
		chromedp.SendKeys("#username", "test-user@localhost"), chromedp.SendKeys("#password", "verysecure"), chromedp.Click("button[type=submit]"),
		chromedp.WaitVisible("#sign-out"))
	account := read(t, ctx, ".who")
	if account != "test-user@localhost" {
		t.Fatalf("signed in as %q", account)
	}
	picture(t, ctx, "empty")

	do(t, ctx, "make a password", chromedp.SendKeys("#name", "laptop"), chromedp.Click("#make"), chromedp.WaitVisible("#fresh"))
	password, command := read(t, ctx, "#password"), read(t, ctx, "#command")
	host := strings.TrimPrefix(h.URL, "http://")
	if want := "docker login " + host + " -u " + account + " -p " + password; command != want {
		t.Fatalf("the command is %q, want %q", command, want)
	}
	where, err := chromedp.Run(ctx, chromedp.Location())
	must(t, err)
	if where != h.URL+"/ui/" { // htmx has put it into the page; the form alone would have left it
		t.Fatalf("the browser is at %s", where)
	}
	picture(t, ctx, "fresh")
	status, bearer := h.login(t, account, password)
	if status != 200 || h.pull(t, bearer) != 404 {
		t.Fatalf("login = %d, pull = %d, want to be let in", status, h.pull(t, bearer))
	}

	do(t, ctx, "look again", chromedp.Navigate(h.URL+"/ui/"), chromedp.WaitVisible("#passwords"))
	if page := read(t, ctx, "#room"); strings.Contains(page, password) || !strings.Contains(page, "laptop") || !strings.Contains(page, "locale") {
		t.Fatalf("the page shows\n%s", page)
	}
	do(t, ctx, "revoke", chromedp.Click("button[aria-label='Revoke laptop']"), chromedp.WaitVisible(".empty"))
	if status, _ := h.login(t, account, password); status != 401 {
		t.Fatalf("login with a revoked password = %d, want 401", status)
	}
	if status := h.pull(t, bearer); status != 401 {
		t.Fatalf("pull with the token of a revoked password = %d, want 401", status)
	}

	h.later(2 * time.Hour) // the provider is asked again, with the refresh token that it gave
	do(t, ctx, "look later", chromedp.Navigate(h.URL+"/ui/"), chromedp.WaitVisible("#make"))
	do(t, ctx, "sign out", chromedp.Click("#sign-out"), chromedp.WaitVisible("#sign-in-oidc"))
	do(t, ctx, "look after the end", chromedp.Navigate(h.URL+"/ui/"), chromedp.WaitVisible("#sign-in-oidc"))
	if strings.Contains(h.log.String(), password) || strings.Contains(h.log.String(), bearer) {
		t.Fatal("a secret is in the log")
	}
}
