package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// write puts text into a file of a fresh folder and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadFillsDefaults(t *testing.T) {
	path := write(t, t.TempDir(), "evenkeel.toml", `
node = "a"
peer_address = ["10.88.1.2:8440"]
[console]
uid = 990
gid = 990
[allow]
backing = ["/dev/vg0", "/var/lib/evenkeel/disks"]
`)
	n, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if n.RunDir != "/run/evenkeel" || n.StateDir != "/var/lib/evenkeel" || n.Console.Listen[0] != ":8443" || n.Allow.Backing[0] != "/dev/vg0" {
		t.Fatalf("defaults or values are not there: %+v", n)
	}
}

func TestLoadRefuses(t *testing.T) {
	const good = "node = \"a\"\n[console]\nuid = 990\n"
	cases := []struct{ name, text, want string }{
		{"unknown key", "colour = 1\n" + good, `unknown key "colour"`},
		{"unknown key in a table", good + "port = 1\n", `unknown key "console.port"`},
		{"no node", "[console]\nuid = 990\n", "node:"},
		{"long node", "node = \"ab\"\n[console]\nuid = 990\n", "one lower-case letter"},
		{"relative path", "run_dir = \"run\"\n" + good, `write it as "/run"`},
		{"no port", "peer_listen = [\"10.0.0.1\"]\n" + good, "peer_listen[0]"},
		{"peer without host", "peer_address = [\":8440\"]\n" + good, "peer_address[0]"},
		{"root console", "node = \"a\"\n", "console.uid"},
		{"plain http", good + "peer_url = \"http://b\"\n", "console.peer_url"},
		{"not TOML", "node = \n", "line 1"},
		{"relative prefix", good + "[allow]\nmounts = [\"srv\"]\n", "allow.mounts[0]"},
		{"negative id", "node = \"a\"\n[console]\nuid = -1\n", "console.uid"},
		{"wrong type", "node = 3\n" + "[console]\nuid = 990\n", "node"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, t.TempDir(), "evenkeel.toml", c.text)
			_, err := Load(path)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Fatalf("error %v does not name the file and %q", err, c.want)
			}
		})
	}
	if _, err := Load("/does/not/exist.toml"); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Fatalf("a missing file: %v", err)
	}
}

func TestFaultsPermitRoot(t *testing.T) {
	path := write(t, t.TempDir(), "evenkeel.toml", "node = \"b\"\nfaults = true\n")
	if _, err := Load(path); err != nil {
		t.Fatal(err)
	}
}

func TestCatalogue(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "web.toml", `
description = "Guestbook"
command = ["/usr/bin/web", "-listen", ":8080"]
volume = "data"
need_address = true
after = ["echo"]
start_timeout = "5s"
[monitor]
kind = "http"
target = "http://127.0.0.1:8080/"
interval = "500ms"
restarts = 0
`)
	write(t, dir, "echo.toml", "command = [\"/usr/bin/echo\"]\n")
	all, err := LoadCatalogue(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || all[0].Name != "echo" || all[1].Name != "web" {
		t.Fatalf("not both, in order of name: %+v", all)
	}
	w, e := all[1], all[0]
	if w.StartTimeout != 5*time.Second || w.StopTimeout != 10*time.Second || w.Monitor.Interval != 500*time.Millisecond || w.Monitor.Restarts != 0 {
		t.Fatalf("times of web: %+v", w)
	}
	if e.Kind != "command" || e.Order != BeforeAddress || e.Monitor.Kind != "process" || e.Monitor.Restarts != 3 || e.Monitor.Failures != 3 {
		t.Fatalf("defaults of echo: %+v", e)
	}
	if none, err := LoadCatalogue(filepath.Join(dir, "nowhere")); err != nil || len(none) != 0 {
		t.Fatalf("a missing folder is an empty catalogue: %v %v", none, err)
	}
}

func TestCatalogueRefuses(t *testing.T) {
	const good = "command = [\"/bin/true\"]\n"
	cases := []struct{ name, text, want string }{
		{"x", "kind = \"ocf\"\n" + good, "kind"},
		{"x", "", "command is missing"},
		{"x", "command = [\"true\"]\n", "command[0]"},
		{"x", "name = \"y\"\n" + good, "differs from the file's name"},
		{"X", good, "rename the file"},
		{"x", good + "stop_timeout = 20\n", "a time with its unit"},
		{"x", good + "after = [\"z\"]\n", `no service "z"`},
		{"x", good + "after = [\"x\"]\n", "wait for each other"},
		{"x", good + "order = \"first\"\n", "order"},
		{"x", good + "env = [\"A\"]\n", "env[0]"},
		{"x", good + "[monitor]\nkind = \"tcp\"\ntarget = \":80\"\n", "monitor.target"},
		{"x", good + "[monitor]\nkind = \"http\"\ntarget = \"x\"\n", "monitor.target"},
		{"x", good + "[monitor]\nkind = \"command\"\n", "monitor.command"},
		{"x", good + "[monitor]\nkind = \"luck\"\n", "monitor.kind"},
		{"x", good + "[monitor]\nfailures = 0\n", "monitor.failures"},
		{"x", good + "[monitor]\npaws = 4\n", `unknown key "monitor.paws"`},
	}
	for _, c := range cases {
		dir := t.TempDir()
		write(t, dir, c.name+".toml", c.text)
		if _, err := LoadCatalogue(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v does not say %q", c.text, err, c.want)
		}
	}
}
