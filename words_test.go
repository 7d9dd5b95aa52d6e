package customhouse_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"customhouse"
)

var hex64 = strings.Repeat("0123456789abcdef", 4)

func TestParseRepo(t *testing.T) {
	good := []string{"a", "a/b", "a0/b1/c2", "a.b", "a_b", "a__b", "a-b", "a---b", "library/busybox", strings.Repeat("a", 255)}
	for _, s := range good {
		if r, err := customhouse.ParseRepo(s); err != nil || r.String() != s {
			t.Errorf("ParseRepo(%q) = %q, %v, want it back", s, r, err)
		}
	}
	bad := []string{"", "/", "a/", "/a", "a//b", "A", "a/B", "a..b", "a.-b", "a___b", "_a", "a_", "-a", "a-", ".a", "a.", "a/../b",
		"..", "a b", "a%2fb", "a\x00b", "a\nb", "ä", "a:b", "a@b", "a._b", strings.Repeat("a", 256)}
	for _, s := range bad {
		if r, err := customhouse.ParseRepo(s); !is(err, customhouse.NameInvalid) {
			t.Errorf("ParseRepo(%q) = %q, %v, want NAME_INVALID", s, r, err)
		}
	}
}

func TestParseRef(t *testing.T) {
	for _, s := range []string{"latest", "v1.0", "_x", "A-B.c_d", strings.Repeat("t", 128), "sha256:" + hex64, "sha512:" + hex64 + hex64} {
		r, err := customhouse.ParseRef(s)
		if err != nil || r.String() != s {
			t.Errorf("ParseRef(%q) = %q, %v, want it back", s, r, err)
		}
		if r.Tag.IsZero() == r.Digest.IsZero() {
			t.Errorf("ParseRef(%q) has tag %q and digest %q, want one of them", s, r.Tag, r.Digest)
		}
	}
	for s, code := range map[string]customhouse.Code{
		"": customhouse.TagInvalid, ".x": customhouse.TagInvalid, "-x": customhouse.TagInvalid, "a/b": customhouse.TagInvalid,
		"a b": customhouse.TagInvalid, strings.Repeat("t", 129): customhouse.TagInvalid, "a\x00": customhouse.TagInvalid,
		"sha256:": customhouse.DigestInvalid, "sha256:" + hex64[1:]: customhouse.DigestInvalid,
		"sha256:" + strings.ToUpper(hex64): customhouse.DigestInvalid, "sha512:" + hex64: customhouse.DigestInvalid,
		"md5:" + hex64: customhouse.DigestInvalid, "sha256:../../" + hex64[6:]: customhouse.DigestInvalid, ":": customhouse.DigestInvalid,
		"SHA256:" + hex64: customhouse.DigestInvalid,
	} {
		if r, err := customhouse.ParseRef(s); !is(err, code) {
			t.Errorf("ParseRef(%q) = %q, %v, want %s", s, r, err, code)
		}
	}
}

func TestDigestOf(t *testing.T) {
	const empty256 = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if got := customhouse.DigestOf(customhouse.SHA256, nil); got.String() != empty256 {
		t.Errorf("DigestOf(sha256, nil) = %v, want %v", got, empty256)
	}
	for _, a := range []customhouse.Algorithm{customhouse.SHA256, customhouse.SHA512} {
		h := a.New()
		h.Write([]byte("customhouse"))
		want := customhouse.DigestOf(a, []byte("customhouse"))
		if got := customhouse.DigestSum(a, h); got != want || got.Algorithm() != a {
			t.Errorf("DigestSum(%s) = %v, want %v", a, got, want)
		}
		if got, err := customhouse.ParseDigest(want.String()); err != nil || got != want {
			t.Errorf("ParseDigest(%v) = %v, %v, want it back", want, got, err)
		}
	}
}

// The grammar of scopes is strict: nothing is read into a name that is not there.
func TestS27_ScopeGrammar(t *testing.T) {
	for s, want := range map[string]customhouse.Access{
		"repository:a/b:pull":               {Type: "repository", Name: "a/b", Actions: []customhouse.Action{"pull"}},
		"repository:a/b:pull,push":          {Type: "repository", Name: "a/b", Actions: []customhouse.Action{"pull", "push"}},
		"repository:a/b:pull,pull":          {Type: "repository", Name: "a/b", Actions: []customhouse.Action{"pull"}},
		"repository(plugin):a:*":            {Type: "repository", Class: "plugin", Name: "a", Actions: []customhouse.Action{"*"}},
		"repository:host.example:5000/a:*":  {Type: "repository", Name: "host.example:5000/a", Actions: []customhouse.Action{"*"}},
		"registry:catalog:*":                {Type: "registry", Name: "catalog", Actions: []customhouse.Action{"*"}},
		"repository:a:":                     {Type: "repository", Name: "a"},
		"repository:samalba/my-app:pull,ab": {Type: "repository", Name: "samalba/my-app", Actions: []customhouse.Action{"pull", "ab"}},
	} {
		got, err := customhouse.ParseScope(s)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) || got.Class != want.Class {
			t.Errorf("ParseScope(%q) = %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", ":", "::", "repository", "repository:a", "REPOSITORYrepository:a:pull", "!!repository!!:a:pull",
		"Repository:a:pull", "repository(plugin:a:pull", "repository():a:pull", "repository(Plug):a:pull", "repository:A:pull",
		"repository:a/../b:pull", "repository:..:pull", "repository:a%2fb:pull", "repository:*:pull", "repository:a b:pull",
		"repository:a\x00:pull", "repository:a\n:pull", "repository:a:PULL", "repository:a:pull,,push", "repository:a:pull, push",
		"repository:a:b:c:pull", "repository:host:port/a:pull", "repository:" + strings.Repeat("a", 256) + ":pull", "repository::pull",
		"repository:a:" + strings.Repeat("a,", 16) + "a", " repository:a:pull", "repository:a:pull ", "repository:-:pull"} {
		if got, err := customhouse.ParseScope(s); err == nil {
			t.Errorf("ParseScope(%q) = %v, want an error", s, got)
		}
	}
}

func FuzzParseScope(f *testing.F) {
	f.Add("repository(plugin):host:5000/a/b:pull,push,*")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := customhouse.ParseScope(s)
		if err != nil {
			return
		}
		again, err := customhouse.ParseScope(a.String())
		if err != nil || again.String() != a.String() {
			t.Errorf("ParseScope(%q) = %v, and again = %v, %v", s, a, again, err)
		}
	})
}

func TestParseAccount(t *testing.T) {
	for _, s := range []string{"alice", "Alice", "alice@example.com", "CORP\\alice", "größe", "a.b-c_d"} {
		if got, err := customhouse.ParseAccount(s); err != nil || got != s {
			t.Errorf("ParseAccount(%q) = %q, %v, want it back", s, got, err)
		}
	}
	for _, s := range []string{"", "a b", " a", "a\t", "a\n", "a\x00", "a:b", "\u202ea", "a\u200b", "\xff", strings.Repeat("a", 256)} {
		if _, err := customhouse.ParseAccount(s); err == nil {
			t.Errorf("ParseAccount(%q) = nil error, want one", s)
		}
	}
}

func TestParseJSON(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, s := range []string{`{}`, `{"a":{"b":[1,2.5,"x",null,true]},"A":1}`, ` 1 `, deep(customhouse.MaxJSONDepth)} {
		if _, err := customhouse.ParseJSON([]byte(s)); err != nil {
			t.Errorf("ParseJSON(%.40q) = %v, want nil", s, err)
		}
	}
	for _, s := range []string{``, `{`, `{"a":1,"a":2}`, `{"b":{"a":1,"\u0061":2}}`, "\ufeff{}", "{\"a\":\"\xff\"}", `{} {}`, `{}x`, `[1 2]`,
		`{"a" 1}`, `nul`, `01`, deep(customhouse.MaxJSONDepth + 1), deep(100_000),
		"[" + strings.Repeat("1,", customhouse.MaxJSONValues) + "1]"} {
		if v, err := customhouse.ParseJSON([]byte(s)); err == nil {
			t.Errorf("ParseJSON(%.40q) = %v, want an error", s, v)
		}
	}
}

// A secret that is printed, logged or encoded says nothing.
func TestS76_SecretPrintsNothing(t *testing.T) {
	const canary = "hunter2"
	s := customhouse.Secret(canary)
	var b strings.Builder
	slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "secret", s, "in", customhouse.Credential{Secret: s})
	j, err := json.Marshal(map[string]any{"s": s, "c": customhouse.Credential{Secret: s}})
	if err != nil {
		t.Fatal(err)
	}
	outputs := []string{b.String(), string(j), fmt.Sprint(s), fmt.Sprintf("%s %v %+v %#v %q", s, s, s, s, s),
		fmt.Sprintf("%v %+v %#v", customhouse.Credential{Secret: s}, customhouse.Account{Password: s}, &customhouse.Credential{Secret: s})}
	if i := slices.IndexFunc(outputs, func(o string) bool { return strings.Contains(o, canary) }); i >= 0 {
		t.Errorf("output %d has the secret: %s", i, outputs[i])
	}
}

func is(err error, code customhouse.Code) bool {
	var e *customhouse.Error
	return errors.As(err, &e) && e.Code == code
}

func TestRange(t *testing.T) {
	for _, test := range []struct {
		r       customhouse.Range
		in, out []string
	}{
		{customhouse.Range{}, []string{"", "a", "zz"}, nil},
		{customhouse.Begins("a/"), []string{"a/", "a/b", "a/zz/z"}, []string{"a", "a.b", "a0", "b"}},
		{customhouse.Begins(""), []string{"", "a", "\xff"}, nil},
		{customhouse.Begins("a\xff"), []string{"a\xff", "a\xffb"}, []string{"a", "b"}},
		{customhouse.Only("a"), []string{"a"}, []string{"", "a-b", "a/b"}},
	} {
		has := func(s string) bool { return s >= test.r.First && (test.r.End == "" || s < test.r.End) }
		if slices.ContainsFunc(test.in, func(s string) bool { return !has(s) }) || slices.ContainsFunc(test.out, has) {
			t.Errorf("%+v: want all of %q and none of %q", test.r, test.in, test.out)
		}
	}
}
