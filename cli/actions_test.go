package cli

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

// TestConfirmWithoutForce: a takeover that was meant by force is not done as a plain one.
func TestConfirmWithoutForce(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the engine was asked for %s", r.URL) })
	d := nodeA(t, mux)
	for _, flags := range [][]string{{"--confirm", "b"}, {"--confirm", ""}, {"--dry-run", "--confirm", "a"}, {"--force=false", "--confirm", "a"}} {
		_, err := execute(t.Context(), d, append([]string{"takeover"}, flags...)...)
		if usage := (usageError{}); !errors.As(err, &usage) || !strings.Contains(err.Error(), "--confirm goes with --force") {
			t.Errorf("%q: %v", flags, err)
		}
	}
}
