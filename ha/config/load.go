package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Load reads evenkeel.toml, fills the defaults and checks every field. An error names the file and the key.
func Load(path string) (Node, error) {
	n := Node{
		StateDir:    "/var/lib/evenkeel",
		RunDir:      "/run/evenkeel",
		TLSDir:      "/etc/evenkeel/tls",
		KeyFile:     "/etc/evenkeel/beat.key",
		ServicesDir: "/etc/evenkeel/services.d",
		Console:     Console{Listen: []string{":8443"}},
	}
	if _, err := decode(path, &n); err != nil {
		return Node{}, err
	}
	if err := n.check(); err != nil {
		return Node{}, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// decode reads one TOML file into v and refuses keys that v does not have.
func decode(path string, v any) (toml.MetaData, error) {
	md, err := toml.DecodeFile(path, v)
	var at toml.ParseError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return md, fmt.Errorf("%s does not exist: create it, or name another file", path)
	case errors.As(err, &at):
		return md, fmt.Errorf("%s: line %d: %s", path, at.Position.Line, at.Message)
	case err != nil:
		return md, fmt.Errorf("%s: %w", path, err)
	}
	if unknown := md.Undecoded(); len(unknown) > 0 {
		return md, fmt.Errorf("%s: unknown key %q: remove it or correct its spelling", path, unknown[0].String())
	}
	return md, nil
}

// check says what is wrong with the first bad field.
func (n Node) check() error {
	if !isNodeID(n.Node) {
		return fmt.Errorf("node: %q is not a node's id: enter one lower-case letter", n.Node)
	}
	paths := []struct{ key, value string }{
		{"state_dir", n.StateDir}, {"run_dir", n.RunDir}, {"tls_dir", n.TLSDir},
		{"key_file", n.KeyFile}, {"services_dir", n.ServicesDir},
	}
	for _, p := range paths {
		if err := checkPath(p.key, p.value); err != nil {
			return err
		}
	}
	for key, list := range map[string][]string{"peer_listen": n.PeerListen, "peer_address": n.PeerAddress, "console.listen": n.Console.Listen} {
		for i, a := range list {
			if err := checkHostPort(fmt.Sprintf("%s[%d]", key, i), a, key == "peer_address"); err != nil {
				return err
			}
		}
	}
	for key, list := range map[string][]string{"allow.backing": n.Allow.Backing, "allow.mounts": n.Allow.Mounts} {
		for i, p := range list {
			if err := checkPath(fmt.Sprintf("%s[%d]", key, i), p); err != nil {
				return err
			}
		}
	}
	return n.Console.check(n.Faults)
}

// check refuses a console that would run as root on a real machine.
func (c Console) check(rehearsal bool) error {
	if len(c.Listen) == 0 {
		return errors.New("console.listen is empty: enter at least one address:port, such as \":8443\"")
	}
	if err := checkIDs("console.", c.UID, c.GID); err != nil {
		return err
	}
	if c.UID == 0 && !rehearsal {
		return errors.New("console.uid is missing or 0: the console must not run as root; enter the number of the user evenkeel")
	}
	if c.PeerURL != "" && !strings.HasPrefix(c.PeerURL, "https://") {
		return fmt.Errorf("console.peer_url: %q is not the address of a console: it begins with https://", c.PeerURL)
	}
	return nil
}

// LoadCatalogue reads every NAME.toml below dir, in the order of the names. A missing folder is an empty catalogue.
func LoadCatalogue(dir string) ([]Service, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.toml"))
	if err != nil {
		return nil, fmt.Errorf("services_dir: %q cannot be searched: %w", dir, err)
	}
	slices.Sort(files)
	var all []Service
	for _, f := range files {
		s, err := loadService(f)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	if err := checkAfter(all); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return all, nil
}

// loadService reads one file of the catalogue; its name is the file's.
func loadService(path string) (Service, error) {
	s := Service{
		Name:         strings.TrimSuffix(filepath.Base(path), ".toml"),
		Kind:         "command",
		Order:        BeforeAddress,
		StartTimeout: DefaultStartTimeout,
		StopTimeout:  DefaultStopTimeout,
		Monitor: Monitor{
			Kind: "process", Interval: DefaultMonitorInterval, Timeout: DefaultMonitorTimeout,
			Failures: DefaultFailures, Restarts: DefaultRestarts,
		},
	}
	if _, err := decode(path, &s); err != nil {
		return Service{}, err
	}
	if s.Name != strings.TrimSuffix(filepath.Base(path), ".toml") {
		return Service{}, fmt.Errorf("%s: name: %q differs from the file's name: rename one of them", path, s.Name)
	}
	if err := s.check(); err != nil {
		return Service{}, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// checkPath accepts absolute paths in their shortest form.
func checkPath(key, p string) error {
	if !filepath.IsAbs(p) || filepath.Clean(p) != p {
		return fmt.Errorf("%s: %q is not an absolute path in its shortest form: write it as %q", key, p, filepath.Clean("/"+p))
	}
	return nil
}

// checkHostPort accepts ADDRESS:PORT; the address may be empty where one listens.
func checkHostPort(key, hp string, needHost bool) error {
	host, port, err := net.SplitHostPort(hp)
	if err != nil || needHost && host == "" {
		return fmt.Errorf("%s: %q is not address:port, such as \"10.88.1.1:8440\"", key, hp)
	}
	if p, err := strconv.ParseUint(port, 10, 16); err != nil || p == 0 {
		return fmt.Errorf("%s: %q has no port from 1 to 65535", key, hp)
	}
	return nil
}

// checkIDs accepts numbers of users and groups.
func checkIDs(prefix string, uid, gid int) error {
	for key, id := range map[string]int{"uid": uid, "gid": gid} {
		if id < 0 || id > 1<<31-1 {
			return fmt.Errorf("%s%s: %d is no number of a user or group: enter 0 to %d", prefix, key, id, 1<<31-1)
		}
	}
	return nil
}

// isNodeID says whether s is one lower-case letter.
func isNodeID(s string) bool { return len(s) == 1 && s[0] >= 'a' && s[0] <= 'z' }
