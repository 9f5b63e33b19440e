package lab

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"time"

	"github.com/BurntSushi/toml"

	"evenkeel/ha"
	"evenkeel/ha/config"
	"evenkeel/store"
)

// What the lab's pair is made of, beside what 60-lab's table says.
const (
	userName  = "admin"
	peerPort  = 7788 // the peer's engine
	webID     = 64431
	disksPath = "/var/lib/evenkeel/disks" // inside a node
	bootWait  = 5 * time.Second
)

// credentials are pair.json: how a person signs in at both consoles.
type credentials struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// makePair writes what an administrator and root would have entered on both machines: settings as revision 1, the user, keys,
// certificates, evenkeel.toml and the catalogue of services.
func makePair(l layout, o Options, consoles map[string]string) error {
	password, err := randomHex(8)
	if err != nil {
		return err
	}
	login := credentials{userName, password}
	if err := writeSecrets(l, login); err != nil {
		return err
	}
	now := time.Now()
	for _, n := range nodes {
		for _, write := range []func() error{
			func() error { return writeConfig(l, n, consoles) },
			func() error { return writeCatalogue(l, n, o) },
			func() error { return writeSettings(l, n, pairSettings(o), login, now) },
		} {
			if err := write(); err != nil {
				return fmt.Errorf("node %s cannot be set up: %w", n, err)
			}
		}
	}
	return makeVolumes(l, o)
}

// pairSettings are the settings of 60-lab's table.
func pairSettings(o Options) ha.Settings {
	lan, wan, sync := networks[0], networks[1], networks[2]
	address := func(n network, who string) netip.Addr { return netip.MustParseAddr(n.address(who)) }
	virtual := func(n network) ha.VirtualAddress {
		return ha.VirtualAddress{
			Enabled: true, Device: n.name, Address: netip.PrefixFrom(address(n, "virtual"), 24),
			MasterAddress: address(n, "a"), SlaveAddress: address(n, "b"),
		}
	}
	s := ha.Settings{
		General: ha.General{
			Active: true, MasterNode: "a", SlaveNode: "b", Mode: ha.Evidence,
			MasterAddress: address(lan, "a"), SlaveAddress: address(lan, "b"),
			References: []ha.Reference{{Name: "gateway", Address: address(lan, "gateway")}},
		},
		Heartbeat: ha.Heartbeat{
			ClusterID: 1, Profile: ha.Profile(o.Profile), BootWait: bootWait,
			Serial: true, MasterSerial: "/dev/ttyS0", SlaveSerial: "/dev/ttyS0", Baud: 115200,
			Devices:    []ha.BeatDevice{{Device: lan.name, Send: true}, {Device: wan.name, Send: true}, {Device: sync.name, Send: true}},
			SyncDevice: sync.name, Port: 999,
		},
		Replication: ha.ReplicationSettings{MasterAddress: address(sync, "a"), SlaveAddress: address(sync, "b")},
		Addresses:   []ha.VirtualAddress{virtual(lan), virtual(wan)},
		Services:    []ha.ServiceSetting{{Name: "echo", Placement: ha.Both}},
	}
	s.ApplyProfile()
	for i, v := range o.volumes() {
		image := disksPath + "/" + v.name + ".img"
		s.Replication.Volumes = append(s.Replication.Volumes, ha.VolumeSetting{
			Name: v.name, Index: i, MasterBacking: image, SlaveBacking: image, Filesystem: v.filesystem, MountPoint: v.mount,
		})
	}
	if o.VolumeSize > 0 {
		s.Services = append(s.Services, ha.ServiceSetting{Name: "guestbook", Placement: ha.MasterSide})
	}
	if len(s.Replication.Volumes) == 0 {
		s.General.Mode = ha.Availability
	}
	return s
}

// labVolume is one volume of the lab.
type labVolume struct {
	name, filesystem, mount string
	size                    int64 // bytes of the backing file
}

// volumes are those that were asked for.
func (o Options) volumes() []labVolume {
	var v []labVolume
	if o.VolumeSize > 0 {
		v = append(v, labVolume{"data", "ext4", "/srv/data", o.VolumeSize})
	}
	if o.Scratch > 0 {
		v = append(v, labVolume{name: "scratch", size: o.Scratch})
	}
	return v
}

// writeSettings stores the settings and the user as the console would.
func writeSettings(l layout, node string, s ha.Settings, login credentials, now time.Time) error {
	db, err := store.Open(l.node(node, "state"), store.Options{
		GID: webID, Now: func() time.Time { return now },
		Limits: ha.Limits{BackingPrefixes: []string{disksPath}, MountPrefixes: []string{"/srv"}, Catalogue: []string{"echo", "guestbook"}},
	})
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := db.Save(ctx, s, 0, "lab"); err != nil {
		return err
	}
	return db.AddUser(ctx, login.User, login.Password)
}

// writeConfig writes a node's evenkeel.toml.
func writeConfig(l layout, node string, consoles map[string]string) error {
	peer := other(node)
	at := func(who, network string) string {
		n, _ := networkNamed(network)
		return fmt.Sprintf("%s:%d", n.address(who), peerPort)
	}
	return writeTOML(l.node(node, "etc", "evenkeel.toml"), config.Node{
		Node: node, StateDir: "/var/lib/evenkeel", RunDir: "/run/evenkeel", TLSDir: "/etc/evenkeel/tls",
		KeyFile: "/etc/evenkeel/beat.key", ServicesDir: "/etc/evenkeel/services.d",
		PeerListen: []string{at(node, "sync"), at(node, "lan")}, PeerAddress: []string{at(peer, "sync"), at(peer, "lan")},
		Console: config.Console{Listen: []string{":8443"}, UID: webID, GID: webID, PeerURL: "https://" + consoles[peer]},
		Allow:   config.Allow{Backing: []string{disksPath}, Mounts: []string{"/srv"}},
		Faults:  true,
	})
}

// other is the other node.
func other(node string) string {
	if node == "a" {
		return "b"
	}
	return "a"
}

// writeCatalogue writes what may run on a node. The pair without the volume data has no guestbook.
func writeCatalogue(l layout, node string, o Options) error {
	echo := config.Service{
		Name: "echo", Description: "says which node answers", Kind: "command",
		Command: []string{program, "lab", "echo", "--node", node}, Order: config.BeforeAddress,
		StartTimeout: config.DefaultStartTimeout, StopTimeout: 2 * time.Second,
		Monitor: monitor("tcp", fmt.Sprintf("127.0.0.1:%d", echoPort)),
	}
	if err := writeTOML(l.node(node, "etc", "services.d", "echo.toml"), echo); err != nil || o.VolumeSize == 0 {
		return err
	}
	return writeTOML(l.node(node, "etc", "services.d", "guestbook.toml"), config.Service{
		Name: "guestbook", Description: "entries on the replicated volume", Kind: "command",
		Command: []string{program, "lab", "guestbook", "--node", node, "--data", "/srv/data", "--listen", fmt.Sprintf("0.0.0.0:%d", guestbookPort)},
		Volume:  "data", NeedAddress: true, Order: config.BeforeAddress,
		StartTimeout: config.DefaultStartTimeout, StopTimeout: config.DefaultStopTimeout,
		Monitor: monitor("tcp", fmt.Sprintf("127.0.0.1:%d", guestbookPort)),
	})
}

// monitor is a monitor with the usual times.
func monitor(kind, target string) config.Monitor {
	return config.Monitor{
		Kind: kind, Target: target, Interval: config.DefaultMonitorInterval, Timeout: config.DefaultMonitorTimeout,
		Failures: config.DefaultFailures, Restarts: config.DefaultRestarts,
	}
}

// writeTOML writes a file that the console's user may read.
func writeTOML(path string, v any) error {
	var b bytes.Buffer
	if err := toml.NewEncoder(&b).Encode(v); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// writeSecrets writes the password, the key that signs the beats, and a certificate per node that the other one pins.
func writeSecrets(l layout, login credentials) error {
	b, err := json.Marshal(login)
	if err != nil {
		return err
	}
	if err := os.WriteFile(l.pairing(), append(b, '\n'), 0o600); err != nil {
		return err
	}
	key, err := randomHex(32)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		cert, private, err := newCertificate("evenkeel node " + n)
		if err != nil {
			return err
		}
		for path, content := range map[string][]byte{
			l.node(n, "etc", "beat.key"):               []byte(key + "\n"),
			l.node(n, "etc", "tls", "node.key"):        private,
			l.node(n, "etc", "tls", "node.crt"):        cert,
			l.node(other(n), "etc", "tls", "peer.crt"): cert,
		} {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// newCertificate makes a self-signed ECDSA P-256 certificate for ten years, both as PEM.
func newCertificate(name string) (cert, private []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// randomHex is n random bytes as hex digits.
func randomHex(n int) (string, error) {
	b := make([]byte, n)
	_, err := rand.Read(b)
	return hex.EncodeToString(b), err
}
