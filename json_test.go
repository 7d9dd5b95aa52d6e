package customhouse_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"customhouse"

	"github.com/google/go-cmp/cmp"
)

// slowJSON reads a JSON value token by token, as encoding/json has them; ok is false where a key stands twice in an object.
func slowJSON(d *json.Decoder) (v any, ok bool, err error) {
	t, err := d.Token()
	delim, isDelim := t.(json.Delim)
	switch {
	case err != nil || !isDelim:
		return t, true, err
	case delim == '[':
		list := []any{}
		for ok = true; d.More(); {
			v, sound, err := slowJSON(d)
			if err != nil {
				return nil, false, err
			}
			list, ok = append(list, v), ok && sound
		}
		_, err = d.Token()
		return list, ok, err
	}
	object := map[string]any{}
	for ok = true; d.More(); {
		key, err := d.Token()
		if err != nil {
			return nil, false, err
		}
		v, sound, err := slowJSON(d)
		if err != nil {
			return nil, false, err
		}
		_, twice := object[key.(string)]
		object[key.(string)], ok = v, ok && sound && !twice
	}
	_, err = d.Token()
	return object, ok, err
}

// FuzzParseJSON: what is read is what encoding/json reads, and nothing that has two meanings.
func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{
		``, ` `, `{}`, `[]`, ` { "a" : [ 1 , -2.5e+7, true , false,null ,"" ] , "b":{"c":{}} } `, `"\u00e9\ud800\\\"\n"`, `{"\u0061":1,"a":2}`,
		`{"a":1,"a":1}`, `[[[]]]`, `[1,]`, `{"a"}`, `1 2`, `01`, "\"\x7f\u2028\"", `{"":"",  "\"":"]}"}`, "\t\r\n7", `{"a":"b\\"}`, `-0`, `nul`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := customhouse.ParseJSON(text)
		if bytes.Count(text, []byte("[")) > 60 || bytes.Count(text, []byte("{")) > 60 {
			return // that there are bounds is tested elsewhere
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		want, single, slowErr := slowJSON(d)
		if !json.Valid(text) || !bytes.Equal(bytes.ToValidUTF8(text, nil), text) {
			slowErr = errors.Join(slowErr, errors.New("not JSON"))
		}
		if (err == nil) != (slowErr == nil && single) {
			t.Fatalf("ParseJSON(%q) = %v, want it as %v, of one meaning: %v", text, err, slowErr, single)
		}
		if diff := cmp.Diff(want, got); err == nil && diff != "" {
			t.Fatalf("ParseJSON(%q) differs (-want +got):\n%s", text, diff)
		}
	})
}

func BenchmarkParseJSON(b *testing.B) {
	manifest := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json",` +
		`"digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","size":1469},"layers":[` +
		`{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","size":29126484}]}`)
	for name, text := range map[string][]byte{"answer": []byte(`{"id":7,"result":"allow"}`), "manifest": manifest} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := customhouse.ParseJSON(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
