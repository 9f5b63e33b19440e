package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// File descriptors that a machine's first process inherits.
const (
	gateFD    = 3 // one byte: the daemon has written down who we are, go; end of file: it is dead
	reportFD  = 4 // the first process says what failed; closed by exec: all went well
	consoleFD = 5 // the console's listener of the machine outside
)

// machine is what the first process of a node needs to know.
type machine struct {
	layout layout
	node   string
	serial string // pseudo-terminal that becomes /dev/ttyS0
	bare   bool
}

// boot turns this process, PID 1 of new namespaces, into a machine and replaces it by `evenkeel run`.
func boot(m machine) error {
	report := os.NewFile(reportFD, "report")
	syscall.CloseOnExec(reportFD)
	gate := os.NewFile(gateFD, "gate")
	if _, err := io.ReadFull(gate, make([]byte, 1)); err != nil {
		return errors.New("the lab's daemon ended before this machine was on")
	}
	_ = gate.Close()
	err := m.start(report)
	_, _ = report.WriteString(err.Error())
	return err
}

// start returns only with an error, or when a bare machine is switched off.
func (m machine) start(report *os.File) error {
	if err := m.furnish(); err != nil {
		return err
	}
	if m.bare {
		_ = report.Close()
		idle()
		os.Exit(0)
	}
	return unix.Exec(program, []string{program, "run", "--config", "/etc/evenkeel/evenkeel.toml"}, os.Environ())
}

// program is this program inside a machine, wherever it stands outside: the console's user may not be able to reach that.
const program = "/run/lab/evenkeel"

// binding is a folder or file of the lab that the machine sees elsewhere.
type binding struct {
	from, to string
	source   *os.File
}

// furnish makes the machine's own view of the file system in its own mount namespace. The host's folders stay as they are:
// where a mount point is missing, the folder above it is replaced by a copy in memory.
func (m machine) furnish() error {
	binds := []binding{
		{from: m.layout.node(m.node, "etc"), to: "/etc/evenkeel"},
		{from: m.layout.node(m.node, "state"), to: "/var/lib/evenkeel"},
		{from: m.layout.disks(m.node), to: "/var/lib/evenkeel/disks"},
		{from: m.layout.node(m.node, "run"), to: "/run/evenkeel"},
		{from: m.layout.node(m.node, "srv"), to: "/srv"},
		{from: m.serial, to: "/dev/ttyS0"},
		{from: "/proc/self/exe", to: program},
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts cannot be made private: %w", err)
	}
	for i := range binds { // before anything is hidden
		f, err := os.OpenFile(binds[i].from, unix.O_PATH, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		binds[i].source = f
	}
	if err := m.system(); err != nil {
		return err
	}
	for _, b := range binds {
		if err := b.mount(); err != nil {
			return fmt.Errorf("%s cannot be laid over %s: %w", b.from, b.to, err)
		}
	}
	return nil
}

// system mounts what a kernel offers to a machine of its own.
func (m machine) system() error {
	if err := unix.Sethostname([]byte(hostnames[m.node])); err != nil {
		return err
	}
	for _, s := range []struct{ kind, at, data string }{{"proc", "/proc", ""}, {"sysfs", "/sys", ""}, {"tmpfs", "/run", "mode=755"}} {
		if err := unix.Mount(s.kind, s.at, s.kind, 0, s.data); err != nil {
			return fmt.Errorf("%s cannot be mounted: %w", s.at, err)
		}
	}
	for _, d := range []string{"/etc", "/var/lib", "/dev"} {
		if err := shadow(d); err != nil {
			return fmt.Errorf("a copy of %s cannot be made: %w", d, err)
		}
	}
	return nil
}

// mount lays the binding over its target, which is made if it is missing.
func (b binding) mount() error {
	st, err := b.source.Stat()
	if err != nil {
		return err
	}
	if st.IsDir() {
		err = os.MkdirAll(b.to, 0o755)
	} else {
		_ = os.Remove(b.to)
		err = os.MkdirAll(filepath.Dir(b.to), 0o755)
		err = errors.Join(err, os.WriteFile(b.to, nil, 0o600))
	}
	if err != nil {
		return err
	}
	return unix.Mount(fmt.Sprintf("/proc/self/fd/%d", b.source.Fd()), b.to, "", unix.MS_BIND, "")
}

// shadow replaces a folder by one in memory with the same entries: folders are bound, links and device nodes made anew, files copied.
func shadow(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	old, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer old.Close()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for _, e := range entries {
		from := fmt.Sprintf("/proc/self/fd/%d/%s", old.Fd(), e.Name())
		if err := shadowEntry(from, filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// shadowEntry makes one entry of a shadow. Sockets and pipes of the host are left out.
func shadowEntry(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return err
	}
	switch mode := st.Mode & unix.S_IFMT; mode {
	case unix.S_IFDIR:
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
		return unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, "")
	case unix.S_IFLNK:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case unix.S_IFCHR, unix.S_IFBLK:
		if err := unix.Mknod(to, st.Mode, int(st.Rdev)); err != nil {
			return err
		}
		return os.Chmod(to, os.FileMode(st.Mode&0o777))
	case unix.S_IFREG:
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(to, b, 0o600); err != nil {
			return err
		}
		if err := os.Chown(to, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
		return os.Chmod(to, os.FileMode(st.Mode&0o777))
	}
	return nil
}

// idle is the first process of a bare machine: it reaps orphans until it is told to switch off.
func idle() {
	c := make(chan os.Signal, 8)
	signal.Notify(c, unix.SIGTERM, unix.SIGCHLD)
	for s := range c {
		if s == unix.SIGTERM {
			return
		}
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
		}
	}
}
