// Package static holds the console's stylesheet, script and icon. Each is served under a name that carries the hash of its
// content, so that a browser may keep it for ever and never shows an old one.
package static

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:embed style.css app.js icon.svg
var files embed.FS

// Prefix is where the files are served.
const Prefix = "/static/"

var (
	byAddress = map[string][]byte{} // address -> content
	addresses = map[string]string{} // file -> address
)

func init() {
	for _, name := range []string{"style.css", "app.js", "icon.svg"} {
		content, err := files.ReadFile(name)
		if err != nil {
			panic(err) // the file is embedded: it is there
		}
		sum := sha256.Sum256(content)
		address := Prefix + hex.EncodeToString(sum[:6]) + "/" + name
		byAddress[address], addresses[name] = content, address
	}
}

// Address is where a file is served; empty if there is no such file.
func Address(name string) string { return addresses[name] }

// Serve answers a request for a static file.
func Serve(w http.ResponseWriter, r *http.Request) {
	content, ok := byAddress[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	kind := mime.TypeByExtension(path.Ext(r.URL.Path))
	if strings.HasSuffix(r.URL.Path, ".js") {
		kind = "text/javascript; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(content) // the browser gone is its own matter
}
