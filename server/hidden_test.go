package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/policy"
)

// hides are rules by which carol may do everything in a/app but with what has a tag secret-*.
func hides() []policy.Rule {
	return before(
		policy.Rule{
			Match:  policy.Match{Account: policy.Values{"carol"}, Tag: policy.Values{"secret-*"}},
			Effect: policy.Deny, Actions: []customhouse.Action{customhouse.Pull, customhouse.Push, customhouse.Delete}, Message: "ask red",
		},
		allow("carol", "a/app", customhouse.Pull, customhouse.Push, customhouse.Delete),
	)
}

// carols is somebody with each kind of credential.
func (h *house) carols() map[string]person {
	return map[string]person{"Basic": h.as("carol"), "token": h.with(h.token("carol", "repository:a/app:pull,push,delete"))}
}

// TestS3_DenialsDoNotNameWhatIsHidden: who may not delete what has a hidden tag too is not told of the tag.
func TestS3_DenialsDoNotNameWhatIsHidden(t *testing.T) {
	h := open(t, setup{rules: hides()})
	project := h.as("project")
	both := project.pushImage("a/app", "v1", "both")
	project.putManifest("a/app", "secret-name", both.manifest).want(http.StatusCreated, "")
	hidden := image([]byte(`{"os":"linux","text":"both"}`), both.layer, object{"annotations": object{"hidden": "yes"}})
	project.putManifest("a/app", "secret-other", hidden).want(http.StatusCreated, "")
	for name, carol := range h.carols() {
		t.Run(name, func(t *testing.T) {
			carol := carol.in(t)
			for _, path := range []string{"manifests/" + both.manifestDg, "blobs/" + both.layerD, "blobs/" + both.configD} {
				carol.head("/v2/a/app/"+path).want(http.StatusOK, "")
				a := carol.do("DELETE", "/v2/a/app/"+path, nil).want(http.StatusForbidden, "DENIED")
				for _, word := range []string{"secret", "red", digestOf(hidden)} {
					if strings.Contains(string(a.body), word) {
						t.Errorf("%s says %q: %s", a.what, word, a.body)
					}
				}
			}
		})
	}
	// What she names, or sees, she is told of.
	h.swap(append([]policy.Rule{denied(policy.Match{Tag: policy.Values{"v*"}}, customhouse.Delete)}, hides()...))
	plain := project.pushImage("a/app", "v2", "plain")
	for _, path := range []string{"manifests/v2", "manifests/" + plain.manifestDg, "blobs/" + plain.layerD} {
		a := h.as("carol").do("DELETE", "/v2/a/app/"+path, nil).want(http.StatusForbidden, "DENIED")
		if !strings.Contains(string(a.body), "a/app:v2") {
			t.Errorf("%s does not say what is in the way: %s", a.what, a.body)
		}
	}
}

// TestS3_HiddenRepositoryLooksLikeMissing: a repository of which every tag is hidden is like one that is not there.
func TestS3_HiddenRepositoryLooksLikeMissing(t *testing.T) {
	visible := allow("carol", "a/**", customhouse.Pull)
	visible.Match.Tag = policy.Values{"v*"}
	h := open(t, setup{rules: before(visible)})
	h.as("project").pushImage("a/exists", "secret", "hidden")
	for name, carol := range map[string]person{"Basic": h.as("carol"), "token": h.with(h.token("carol", "repository:a/exists:pull", "repository:a/missin:pull"))} {
		for _, method := range []string{"GET", "HEAD"} {
			for _, query := range []string{"", "?n=1", "?n=0", "?last=a", "?last=zzz", "?n=10&last=secret"} {
				there := outward(carol.do(method, "/v2/a/exists/tags/list"+query, nil).want(http.StatusNotFound, ""), "a/exists")
				missing := outward(carol.do(method, "/v2/a/missin/tags/list"+query, nil), "a/missin")
				if diff := cmp.Diff(missing, there); diff != "" {
					t.Errorf("%s, %s %q tells that the repository is there (-missing +there):\n%s", name, method, query, diff)
				}
			}
		}
	}
}
