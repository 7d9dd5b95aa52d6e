package server_test

import (
	"net/http"
	"testing"

	"customhouse"
	"customhouse/policy"
)

// Whoever may do a part of push that brings no content of their own uploads none: not to tag, nor to take over blobs.
func TestPartsOfPushBringNoContent(t *testing.T) {
	const content = "brought in"
	d := digestOf(content)
	for part, may := range map[customhouse.Action]bool{
		customhouse.Create: true, customhouse.Update: true, customhouse.Refer: true,
		customhouse.PutTag: false, customhouse.Mount: false,
	} {
		t.Run(string(part), func(t *testing.T) {
			h := open(t, setup{rules: []policy.Rule{allow("admin", "**", "*"), allow("bob", "a/app", customhouse.Pull, part)}})
			image := h.as("admin").pushImage("a/app", "v1", "there")
			for name, bob := range map[string]person{"Basic": h.as("bob"), "token": h.with(h.token("bob", "repository:a/app:pull,push"))} {
				begin := func() string {
					return bob.do("POST", "/v2/a/app/blobs/uploads/", nil).want(http.StatusAccepted, "").header.Get("Location")
				}
				for way, do := range map[string]func() answer{
					"at once":    func() answer { return bob.do("POST", "/v2/a/app/blobs/uploads/?digest="+d, []byte(content)) },
					"in pieces":  func() answer { return bob.do("PATCH", begin(), []byte(content)) },
					"in the end": func() answer { return bob.do("PUT", begin()+"?digest="+d, []byte(content)) },
				} {
					got := do()
					if refused := got.status == http.StatusForbidden; refused == may {
						t.Errorf("%s, %s: an upload is answered %d", name, way, got.status)
					}
				}
				if !may {
					h.as("admin").head("/v2/a/app/blobs/"+d).want(http.StatusNotFound, "")
				}
				if part == customhouse.PutTag { // which takes no upload
					bob.putManifest("a/app", "promoted", image.manifest).want(http.StatusCreated, "")
				}
			}
		})
	}
}
