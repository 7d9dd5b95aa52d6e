package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
)

// The files that pages load. htmx is version 4.0.1 as npm has it, under the licence beside it.
//
//go:embed assets/style.css assets/page.js assets/icon.svg assets/htmx.js
var files embed.FS

// asset is a file that pages load.
type asset struct {
	content []byte
	typ     string
	version string // changes with the content
}

func loadAssets() (map[string]asset, error) {
	all := map[string]asset{}
	for name, typ := range map[string]string{
		"style.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8", "htmx.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml",
	} {
		content, err := files.ReadFile("assets/" + name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		all[name] = asset{content, typ, hex.EncodeToString(sum[:6])}
	}
	return all, nil
}

// asset answers with a file. Its URL names its content, so browsers may keep it.
func (h *Handler) asset(w http.ResponseWriter, r *http.Request, name string) error {
	a := h.assets[name]
	w.Header().Set("Content-Type", a.typ)
	if r.URL.Query().Get("v") == a.version {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_, _ = w.Write(a.content) // the client has left
	return nil
}
