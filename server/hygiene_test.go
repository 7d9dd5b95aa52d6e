package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"customhouse"
	"customhouse/blob"
	"customhouse/server"
)

// TestS32_HostAttack: no header of a request decides where a client sends its password.
func TestS32_HostAttack(t *testing.T) {
	public, err := url.Parse("https://registry.example.com")
	must(t, err)
	evil := [][]string{
		{"Host", "evil.test"}, {"Host", "evil.test:443"}, {"Host", "localhost.evil.test"}, {"Host", "127.0.0.1.evil.test"}, {"Host", "registry.example.com.evil.test"},
		{"Host", "evil.test", "X-Forwarded-Host", "registry.example.com"}, {"Host", "192.0.2.1"}, {"Host", "[2001:db8::1]:5000"}, {"Host", "0.0.0.0"},
		{"X-Forwarded-Host", "evil.test", "X-Forwarded-Proto", "https"}, {"Forwarded", "host=evil.test;proto=https"}, {"X-Forwarded-Prefix", "/evil"},
		{"X-Original-URL", "/evil"}, {"X-Host", "evil.test"}, {"X-Forwarded-Server", "evil.test"}, {"X-Rewrite-Url", "//evil.test/"},
		{"Host", "localhost:5000@evil.test"}, {"Host", "evil.test#localhost"}, {"Host", `localhost",realm="https://evil.test`}, {"Host", "127.0.0.1:80,evil.test"}, {"Host", "localhost:evil"},
	}
	for name, realm := range map[string]server.RealmURL{
		"no public URL": {}, "public URL": {Public: public}, "hosts": {Public: public, Hosts: []string{"registry.lan", "registry.lan:5000"}, Listen: "127.0.0.1:1234"},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, setup{realm: realm})
			admin := h.as("admin")
			s := admin.pushImage("a/app", "v1", "x")
			admin.putManifest("a/app", "v2", s.manifest)
			for _, headers := range evil {
				for _, path := range []string{"/v2/", "/v2/a/app/tags/list?n=1", "/v2/_catalog?n=1", "/token?scope=repository:a/app:pull"} {
					for _, who := range []person{h.as(""), admin, h.with("nonsense")} {
						a := who.get(path, headers...)
						wantNoEvil(t, a, headers)
						if c := a.header.Get("WWW-Authenticate"); strings.HasPrefix(c, "Bearer") {
							ours := strings.HasPrefix(c, `Bearer realm="https://registry.example.com/token",service=`) ||
								strings.HasPrefix(c, `Bearer realm="`+h.http.URL+`/token",service=`)
							if !ours {
								t.Errorf("%v: challenge %s", headers, c)
							}
						}
					}
				}
				wantNoEvil(t, admin.do("POST", "/v2/a/app/blobs/uploads/", nil, headers...), headers)
				wantNoEvil(t, admin.do("POST", "/v2/a/app/blobs/uploads/?digest="+digestOf("x"), []byte("x"), headers...), headers)
			}
			for host, want := range map[string]string{
				"localhost:5000": "http://localhost:5000/token", "LOCALHOST": "http://localhost/token", "127.0.0.1:1234": "http://127.0.0.1:1234/token",
				"[::1]:5000": "http://[::1]:5000/token", "registry.example.com": "https://registry.example.com/token", "registry.lan": "https://registry.lan/token",
			} {
				a := h.as("").get("/v2/", "Host", host)
				known := host != "registry.example.com" && host != "registry.lan" || host == "registry.example.com" && realm.Public != nil || realm.Hosts != nil
				switch {
				case known:
					if c := a.want(http.StatusUnauthorized, "").header.Get("WWW-Authenticate"); c != `Bearer realm="`+want+`",service="registry.test"` {
						t.Errorf("Host %s: challenge %s, want the realm %s", host, c, want)
					}
				case realm.Public == nil:
					a.want(http.StatusMisdirectedRequest, "UNSUPPORTED")
				}
			}
		})
	}
}

// wantNoEvil checks that nothing of an answer leads elsewhere.
func wantNoEvil(t *testing.T, a answer, headers []string) {
	t.Helper()
	for key, values := range a.header {
		if strings.Contains(strings.Join(values, " "), "evil") {
			t.Errorf("%s with %v: %s = %q", a.what, headers, key, values)
		}
	}
	for _, key := range []string{"Location", "Link"} {
		if v := strings.TrimPrefix(a.header.Get(key), "<"); v != "" && (!strings.HasPrefix(v, "/v2/") || strings.HasPrefix(v, "//")) {
			t.Errorf("%s with %v: %s = %q, want a path", a.what, headers, key, v)
		}
	}
	if a.status >= 500 {
		t.Errorf("%s with %v = %d", a.what, headers, a.status)
	}
}

// smuggled are requests whose end two programs could see in two places.
func smuggled(auth string) map[string]string {
	head := "POST /v2/b/x/blobs/uploads/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + auth + "\r\n"
	inner := "GET /v2/inner HTTP/1.1\r\nHost: localhost\r\n\r\n"
	chunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(inner), inner)
	cases := map[string]string{
		"TE.CL": head + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + chunk,
	}
	for _, te := range []string{"xchunked", "chunked, identity", "identity, chunked", "chunked, chunked", "gzip, chunked", "chunked;q=1", "\"chunked\"", "chunked\x00", "\x0bchunked", "identity", "x", "cow", "chunked,", ",chunked"} {
		cases["TE "+te] = head + "Transfer-Encoding: " + te + "\r\n\r\n" + chunk
		cases["TE twice "+te] = head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: " + te + "\r\n\r\n" + chunk
		cases["CL and TE "+te] = head + "Content-Length: 3\r\nTransfer-Encoding: " + te + "\r\n\r\nabc" + inner
	}
	for _, name := range []string{"Transfer-Encoding ", " Transfer-Encoding", "Transfer-Encoding\t", "Transfer\x00-Encoding", "Transfer-Encoding\x0b", "Transfer Encoding"} {
		cases["name "+name] = head + name + ": chunked\r\n\r\n" + chunk
	}
	for _, cl := range []string{"4\r\nContent-Length: 5", "5\r\nContent-Length: 5, 6", "4,5", "+4", "-4", "0x4", "4 4", " ", "", "4.0", "1e1", "99999999999999999999", "4\x00", "٤", "4;5"} {
		cases["CL "+cl] = head + "Content-Length: " + cl + "\r\n\r\nabcd" + inner
	}
	for name, chunks := range map[string]string{
		"size -1": "-1\r\na\r\n0\r\n\r\n", "size 0x1": "0x1\r\na\r\n0\r\n\r\n", "size +1": "+1\r\na\r\n0\r\n\r\n", "size too large": "fffffffffffffffff\r\na\r\n0\r\n\r\n",
		"size 1 space": "1 1\r\na\r\n0\r\n\r\n", "no end of chunk": "1\r\nab\r\n0\r\n\r\n", "bare LF after size": "1\na\r\n0\r\n\r\n", "bare CR": "1\ra\r\n0\r\n\r\n",
		"empty size": "\r\na\r\n0\r\n\r\n", "extension with LF": "1;a=\nb\r\na\r\n0\r\n\r\n",
	} {
		cases["chunk "+name] = head + "Transfer-Encoding: chunked\r\n\r\n" + chunks + inner
	}
	for name, headers := range map[string]string{
		"obs-fold": "X: a\r\n b\r\n", "obs-fold of TE": "Transfer-Encoding:\r\n chunked\r\n", "no colon": "nonsense\r\n", "empty name": ": x\r\n", "NUL": "X: a\x00b\r\n",
		"bare CR": "X: a\rTransfer-Encoding: chunked\r\n", "two Hosts": "Host: other\r\n", "space in name": "X Y: z\r\n",
	} {
		cases["header "+name] = head + headers + "\r\n"
	}
	for name, line := range map[string]string{
		"no version": "GET /v2/\r\nHost: localhost\r\n\r\n", "HTTP/1.2": "GET /v2/ HTTP/1.2\r\nHost: localhost\r\n\r\n", "HTTP/9.9": "GET /v2/ HTTP/9.9\r\nHost: localhost\r\n\r\n",
		"space in target": "GET /v2/ x HTTP/1.1\r\nHost: localhost\r\n\r\n", "no Host": "GET /v2/ HTTP/1.1\r\n\r\n", "HTTP/1.1 in lower case": "GET /v2/ http/1.1\r\nHost: localhost\r\n\r\n",
		"NUL in target": "GET /v2/\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n", "no target": "GET  HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/2 preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"method with colon": "GE:T /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n", "Host with a path": "GET /v2/ HTTP/1.1\r\nHost: localhost/v2\r\n\r\n", "Host with space": "GET /v2/ HTTP/1.1\r\nHost: local host\r\n\r\n",
	} {
		cases["line "+name] = line
	}
	return cases
}

// TestS70_Smuggling: a request that is ambiguous is refused and the connection closed, or is one request.
func TestS70_Smuggling(t *testing.T) {
	h := open(t, setup{})
	bob := h.as("bob")
	target, err := url.Parse(h.http.URL)
	must(t, err)
	behind := newServer(t, &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorLog: log.New(io.Discard, "", 0),
	})
	cases := smuggled(bob.auth)
	if len(cases) < 80 {
		t.Errorf("there are %d cases", len(cases))
	}
	var wg sync.WaitGroup
	for name, request := range cases {
		for address, dial := range map[string]func() wire{"direct": h.dial, "behind a proxy": func() wire { return dialTo(t, behind) }} {
			wg.Go(func() {
				c := dial()
				c.send(request)
				for i, a := range c.responses(time.Second) {
					fault := a.status >= 500 && a.status != http.StatusNotImplemented && a.status != http.StatusHTTPVersionNotSupported
					if fault && (address == "direct" || a.status != http.StatusBadGateway) { // the proxy's word for a broken body
						t.Errorf("%s, %s: %d %s", name, address, a.status, a.body)
					}
					// What is in the body of the first is never a request. Rubbish behind it is 400 and the end.
					if i > 0 && a.status != http.StatusBadRequest {
						t.Errorf("%s, %s: answer %d is %d", name, address, i+1, a.status)
					}
				}
			})
		}
	}
	wg.Wait()
}

// TestS70_Pipelining: on one connection, each answer belongs to its request, also behind refused bodies.
func TestS70_Pipelining(t *testing.T) {
	h := open(t, setup{})
	bob := h.as("bob")
	h.as("admin").pushBlob("b/x", []byte("content"))
	c := h.dial()
	auth := "Host: localhost\r\nAuthorization: " + bob.auth + "\r\n"
	inner := "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
	c.send("PUT /v2/a/app/manifests/x HTTP/1.1\r\n" + auth + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(inner)) + inner + // 403, the body is not read
		"GET /v2/b/x/blobs/" + digestOf("content") + " HTTP/1.1\r\n" + auth + "\r\n" +
		"PUT /v2/b/x/blobs/uploads/none?digest=" + nowhere + " HTTP/1.1\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(inner), inner) + // 404
		"GET /v2/b/x/blobs/" + nowhere + " HTTP/1.1\r\n" + auth + "\r\n" +
		"GET /v2/b/x/tags/list HTTP/1.1\r\n" + auth + "Connection: close\r\n\r\n")
	if got, want := c.statuses(3*time.Second), []int{403, 200, 404, 404, 200}; !slices.Equal(got, want) {
		t.Errorf("statuses = %v, want %v", got, want)
	}
}

// TestS71_StalledBody: who stops sending is cut off, who is slow is not.
func TestS71_StalledBody(t *testing.T) {
	long(t)
	t.Parallel()
	h := open(t, setup{})
	admin := h.as("admin")
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() { // half a body, then nothing
			c := h.dial()
			c.send([]string{
				"PATCH " + admin.begin("a/app", "") + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + admin.auth + "\r\nContent-Length: 1000\r\n\r\nabc",
				"POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc",
				"GET /v2/ HTTP/1.1\r\nHost: local",
			}[i%3])
			start := time.Now()
			must(t, c.SetReadDeadline(start.Add(time.Minute)))
			_, err := io.Copy(io.Discard, c.Conn)
			if took := time.Since(start); err != nil || took > 40*time.Second {
				t.Errorf("a stalled connection was open for %v: %v", took, err)
			}
		})
	}
	wg.Go(func() { // 16 KiB/s for a minute
		content := bytes.Repeat([]byte("0123456789abcdef"), 60<<10)
		r, err := http.NewRequest("POST", h.http.URL+"/v2/a/app/blobs/uploads/?digest="+digestOf(content), &slow{bytes.NewReader(content)})
		must(t, err)
		r.ContentLength = int64(len(content))
		r.Header.Set("Authorization", admin.auth)
		if a := admin.send(r); a.status != http.StatusCreated {
			t.Errorf("a slow upload = %d", a.status)
		}
	})
	wg.Wait()
}

// slow reads 16 KiB a second.
type slow struct{ io.Reader }

func (s *slow) Read(p []byte) (int, error) {
	time.Sleep(time.Second / 4)
	return s.Reader.Read(p[:min(len(p), 4<<10)])
}

// TestS73_Limits: what is too long is refused by name.
func TestS73_Limits(t *testing.T) {
	h := open(t, setup{})
	for name, test := range map[string]struct {
		path    string
		headers []string
		status  int
	}{
		"64 KiB header":     {"/v2/", []string{"X-Large", strings.Repeat("x", 64<<10)}, 431},
		"10,000 cookies":    {"/v2/", slices.Repeat([]string{"Cookie", "a=b"}, 10_000), 431},
		"10,000 headers":    {"/v2/", slices.Repeat([]string{"X", "y"}, 10_000), 431},
		"16 KiB URL":        {"/v2/" + strings.Repeat("a", 16<<10) + "/tags/list", nil, 414},
		"16 KiB query":      {"/v2/_catalog?last=" + strings.Repeat("a", 16<<10), nil, 414},
		"10,000 parameters": {"/v2/_catalog?" + strings.Repeat("a&", 10_000), nil, 414},
		"200 parameters":    {"/v2/_catalog?" + strings.Repeat("a&", 200), nil, 400},
		"200 to the token": {"/token?" + func() (s string) {
			for i := range 200 {
				s += fmt.Sprintf("k%d=v&", i)
			}
			return s
		}(), nil, 400},
		"7 KiB URL": {"/v2/_catalog?last=" + strings.Repeat("a", 7<<10), nil, 401},
	} {
		if a := h.as("").get(test.path, test.headers...); a.status != test.status {
			t.Errorf("%s = %d, want %d", name, a.status, test.status)
		}
	}
}

// nasty is text that breaks logs and terminals.
var nasty = []string{"a\nb", "a\rb", "\x1b[31m", "\u2028", "\u2029", "\u0085", "\u009b31m", "\x7f", "\x00", "\xff\xfe", `"}` + "\n{", "\u202e", strings.Repeat("long", 1500)}

// TestS77_LogInjection puts nasty text everywhere; every house checks its log when it closes.
func TestS77_LogInjection(t *testing.T) {
	h := open(t, setup{})
	for _, s := range nasty {
		escaped := url.PathEscape(s)
		for _, path := range []string{
			"/v2/" + escaped + "/tags/list", "/v2/a/app/manifests/" + escaped, "/v2/a/app/blobs/uploads/" + escaped, "/" + escaped, "/v2/_catalog?last=" + url.QueryEscape(s),
			"/token?scope=" + url.QueryEscape(s), "/token?account=" + url.QueryEscape(s), "/token?service=" + url.QueryEscape(s) + "&client_id=" + url.QueryEscape(s),
			"/v2/a/app/blobs/uploads/?mount=" + url.QueryEscape(s),
		} {
			for _, method := range []string{"GET", "POST"} {
				h.as("project").do(method, path, nil)
			}
		}
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(s, s)
		who := person{h, r.Header.Get("Authorization")}
		who.get("/v2/")
		who.get("/token")
		h.as("").post("grant_type", s, "username", s, "refresh_token", s)
		h.as("").post("grant_type", "password", "username", s, "password", s)
		h.as("").post("grant_type", "refresh_token", "refresh_token", s, "client_id", s)
		h.as("project").do("PUT", "/v2/a/app/manifests/x", encode(object{"mediaType": s, "schemaVersion": 2, s: s}), "Content-Type", ociImage)
		// Headers take no line break; what they take comes as it is.
		header := strings.Map(func(r rune) rune {
			if r < 0x20 || r == 0x7f {
				return -1
			}
			return r
		}, s)
		for _, key := range []string{"User-Agent", "Referer", "Accept", "Content-Range", "Range", "X-Request-Id", "If-None-Match", "Content-Type", "X-Forwarded-For"} {
			h.as("project").do("PUT", "/v2/a/app/manifests/x", nil, key, header)
		}
		h.with(header).get("/v2/")
	}
	if !h.log.contains(`"status"`) {
		t.Error("nothing was logged")
	}
}

// TestS76_Canaries: no secret reaches the log, at any level, whatever goes wrong with it.
func TestS76_Canaries(t *testing.T) {
	h := open(t, setup{})
	canary := "kanarie-7f3a"
	good := h.token("alice", "repository:a/app:pull")
	var v issued
	h.as("alice").get("/token?offline_token=true&client_id=x").into(&v)
	for _, auth := range []string{"Basic " + canary, "Bearer " + canary, "Bearer " + good + canary, canary + " x", "Digest " + canary, "Bearer " + canary + "." + canary + "." + canary} {
		person{h, auth}.get("/v2/a/app/tags/list")
		person{h, auth}.get("/token")
	}
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth("alice", canary)
	person{h, r.Header.Get("Authorization")}.get("/v2/")
	h.as("").post("grant_type", "password", "username", "alice", "password", canary)
	h.as("").post("grant_type", "refresh_token", "refresh_token", canary, "client_id", "x")
	h.as("").post("grant_type", "refresh_token", "refresh_token", v.RefreshToken, "client_id", canary)
	h.as("").get("/token?password="+canary+"&access_token="+canary+"&service="+canary, "Referer", "http://x/"+canary, "Cookie", "session="+canary)
	h.as("alice").get("/v2/_catalog?access_token=" + canary + "&n=" + canary)
	h.as("alice").do("POST", "/v2/a/app/blobs/uploads/?_state="+canary, []byte(canary), "X-Secret", canary)
	c := h.dial()
	c.send("GET /v2/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic " + canary + "\x00\r\n\r\n")
	c.statuses(time.Second)
	if h.log.contains(canary) || h.log.contains(good[len(good)-40:]) || h.log.contains(v.RefreshToken) {
		for _, line := range h.log.lines {
			if bytes.Contains(line, []byte(canary)) {
				t.Errorf("log: %s", line)
			}
		}
		t.Error("a secret is in the log")
	}
}

// panicky is a store that panics when it is told to.
type panicky struct {
	blob.Store
	armed *atomic.Bool
}

func (p panicky) fire() {
	if p.armed.Load() {
		var nothing *blob.Object
		_ = nothing.Size // a runtime error, as a bug would make it
	}
}

func (p panicky) Open(ctx context.Context, d customhouse.Digest) (blob.Object, error) {
	p.fire()
	return p.Store.Open(ctx, d)
}

func (p panicky) Append(ctx context.Context, id string, offset int64, r io.Reader) (int64, error) {
	n, err := p.Store.Append(ctx, id, offset, r)
	p.fire()
	return n, err
}

func (p panicky) Commit(ctx context.Context, id string, d customhouse.Digest) error {
	p.fire()
	return p.Store.Commit(ctx, id, d)
}

func (p panicky) Discard(ctx context.Context, id string) error {
	p.fire()
	return p.Store.Discard(ctx, id)
}

// TestR54_PanicEndsOneRequest: a bug in one request is that request's alone; no lock stays behind.
func TestR54_PanicEndsOneRequest(t *testing.T) {
	armed := &atomic.Bool{}
	h := open(t, setup{fails: true, store: func(s blob.Store) blob.Store { return panicky{s, armed} }})
	admin := h.as("admin")
	s := admin.pushImage("a/app", "latest", "x")
	upload := admin.begin("a/app", "")
	content := []byte("0123456789")
	admin.do("PATCH", upload, content[:5]).want(http.StatusAccepted, "")
	other := image(s.config, s.layer, object{"annotations": object{"n": "2"}})
	armed.Store(true)
	for range 3 {
		for _, try := range []func() answer{
			func() answer { return admin.get("/v2/a/app/blobs/" + s.layerD) },
			func() answer { return admin.head("/v2/a/app/blobs/" + s.layerD) },
			func() answer { return admin.putManifest("a/app", "v2", other) },
			func() answer {
				return admin.do("POST", "/v2/a/app/blobs/uploads/?digest="+digestOf(content), content)
			},
			func() answer {
				return admin.do("POST", "/v2/a/new/blobs/uploads/?mount="+s.layerD+"&from=a/app", nil)
			},
			func() answer { return admin.do("PATCH", upload, content[5:], "Content-Range", "5-9") },
			func() answer { return admin.do("PUT", upload+"?digest="+digestOf(content), content[5:]) },
		} {
			a := try().want(http.StatusInternalServerError, "")
			for _, key := range []string{"Docker-Content-Digest", "Location", "Etag", "Content-Range"} {
				a.wantHeader(key, "")
			}
			if len(a.body) > 0 && a.code() != "UNKNOWN" {
				t.Errorf("%s = %s", a.what, a.body)
			}
			admin.get("/v2/").want(http.StatusOK, "")
		}
	}
	armed.Store(false)
	admin.get("/v2/a/app/blobs/"+s.layerD).want(http.StatusOK, "")
	admin.head("/v2/a/app/manifests/v2").want(http.StatusNotFound, "")
	admin.get(upload).want(http.StatusNoContent, "").wantHeader("Range", "0-4")
	admin.do("PATCH", upload, content[5:], "Content-Range", "5-9").want(http.StatusAccepted, "")
	admin.do("PUT", upload+"?digest="+digestOf(content), nil).want(http.StatusCreated, "")
	if !h.log.contains(`"panic"`) {
		t.Error("the log says nothing of panics")
	}
}

// faulty is a store whose medium fails with an error.
type faulty struct {
	blob.Store
	err *atomic.Pointer[error]
}

func (f faulty) Append(ctx context.Context, id string, offset int64, r io.Reader) (int64, error) {
	if err := f.err.Load(); err != nil {
		return 0, *err
	}
	return f.Store.Append(ctx, id, offset, r)
}

func (f faulty) Open(ctx context.Context, d customhouse.Digest) (blob.Object, error) {
	if err := f.err.Load(); err != nil {
		return blob.Object{}, *err
	}
	return f.Store.Open(ctx, d)
}

// TestS75_FaultsSayNothing: what the medium says reaches the log, not the client. The witness looks for paths and SQL.
func TestS75_FaultsSayNothing(t *testing.T) {
	fault := &atomic.Pointer[error]{}
	h := open(t, setup{fails: true, store: func(s blob.Store) blob.Store { return faulty{s, fault} }})
	admin := h.as("admin")
	s := admin.pushImage("a/app", "latest", "x")
	for status, err := range map[int]error{
		500: fmt.Errorf("open %s/blobs/sha256/ab: input/output error", h.dir),
		503: fmt.Errorf("%w: open %s/x: read-only file system", blob.ErrReadOnly, h.dir),
		507: fmt.Errorf("%w: write %s/x: no space left on device", blob.ErrNoSpace, h.dir),
	} {
		fault.Store(&err)
		a := admin.do("POST", "/v2/a/app/blobs/uploads/?digest="+digestOf("x"), []byte("x")).want(status, "")
		if status == 503 {
			a.wantHeader("Retry-After", "5")
		}
		admin.get("/v2/a/app/blobs/" + s.layerD)
		admin.putManifest("a/app", "v2", image(s.config, s.layer, object{"annotations": object{"n": "3"}}))
		fault.Store(nil)
	}
	admin.get("/v2/a/app/blobs/"+s.layerD).want(http.StatusOK, "")
	// The index is gone.
	must(t, h.index.Close())
	for _, path := range []string{"/v2/a/app/tags/list", "/v2/_catalog", "/v2/a/none/manifests/x", "/readyz", "/v2/a/app/referrers/" + nowhere} {
		if a := admin.get(path); a.status < 500 {
			t.Errorf("%s = %d without an index", a.what, a.status)
		}
	}
	admin.get("/readyz").want(http.StatusServiceUnavailable, "")
	admin.get("/livez").want(http.StatusOK, "")
}

// TestReadiness: a server that ends says so.
func TestReadiness(t *testing.T) {
	h := open(t, setup{fails: true})
	nobody := h.as("")
	for _, path := range []string{"/livez", "/readyz"} {
		a := nobody.get(path).want(http.StatusOK, "").wantHeader("Cache-Control", "no-store")
		if string(a.body) != "ok\n" {
			t.Errorf("%s = %q", path, a.body)
		}
		nobody.do("POST", path, nil).want(http.StatusMethodNotAllowed, "")
	}
	h.server.Drain()
	nobody.get("/readyz").want(http.StatusServiceUnavailable, "UNAVAILABLE").wantHeader("Retry-After", "5")
	nobody.get("/livez").want(http.StatusOK, "")
	h.as("admin").get("/v2/").want(http.StatusOK, "") // requests under way and their successors are still answered
}

// TestErrorEnvelope: each error has its code, its message and its detail.
func TestErrorEnvelope(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	admin.pushImage("a/app", "latest", "x")
	for _, test := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/v2/a/app/manifests/none", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/a/app/blobs/" + nowhere, 404, "BLOB_UNKNOWN"},
		{"GET", "/v2/a/app/blobs/uploads/none", 404, "BLOB_UPLOAD_UNKNOWN"},
		{"GET", "/v2/a/none/tags/list", 404, "NAME_UNKNOWN"},
		{"GET", "/v2/A/tags/list", 400, "NAME_INVALID"},
		{"GET", "/v2/a/app/manifests/.x", 400, "TAG_INVALID"},
		{"GET", "/v2/a/app/blobs/sha256:x", 400, "DIGEST_INVALID"},
		{"GET", "/v2/_catalog?n=x", 400, "PAGINATION_NUMBER_INVALID"},
		{"PUT", "/v2/a/app/manifests/x", 400, "MANIFEST_INVALID"},
		{"GET", "/nowhere", 404, "UNSUPPORTED"},
		{"POST", "/v2/", 405, "UNSUPPORTED"},
	} {
		a := admin.do(test.method, test.path, nil).want(test.status, test.code)
		var v struct {
			Errors []struct {
				Message string
				Detail  any
			}
		}
		a.into(&v).wantHeader("Content-Type", "application/json").wantHeader("Cache-Control", "no-store")
		if strings.HasSuffix(test.code, "_UNKNOWN") && v.Errors[0].Detail == nil {
			t.Errorf("%s: no detail: %s", a.what, a.body)
		}
	}
}
