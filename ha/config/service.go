package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The values of Service.Order.
const (
	BeforeAddress = "before-address" // no client meets a kernel without a listener
	AfterAddress  = "after-address"
)

// What a catalogue file gets where it says nothing.
const (
	DefaultStartTimeout    = 20 * time.Second
	DefaultStopTimeout     = 10 * time.Second
	DefaultMonitorInterval = 2 * time.Second
	DefaultMonitorTimeout  = 2 * time.Second
	DefaultFailures        = 3
	DefaultRestarts        = 3
)

// check says what is wrong with the first bad field of a catalogue file.
func (s Service) check() error {
	if !isServiceName(s.Name) {
		return fmt.Errorf("name: %q is not 1 to 32 of a-z, 0-9 and -, beginning with a letter: rename the file", s.Name)
	}
	if s.Kind != "command" {
		return fmt.Errorf("kind: %q is not known: the one kind is \"command\"", s.Kind)
	}
	if err := checkCommand("command", s.Command); err != nil {
		return err
	}
	if s.Dir != "" {
		if err := checkPath("dir", s.Dir); err != nil {
			return err
		}
	}
	for i, e := range s.Env {
		if k, _, ok := strings.Cut(e, "="); !ok || k == "" || strings.ContainsRune(e, 0) {
			return fmt.Errorf("env[%d]: %q is not NAME=VALUE", i, e)
		}
	}
	if s.Order != BeforeAddress && s.Order != AfterAddress {
		return fmt.Errorf("order: %q is not known: enter %q or %q", s.Order, BeforeAddress, AfterAddress)
	}
	if err := checkIDs("", s.UID, s.GID); err != nil {
		return err
	}
	if err := checkTime("start_timeout", s.StartTimeout, 100*time.Millisecond, 10*time.Minute); err != nil {
		return err
	}
	if err := checkTime("stop_timeout", s.StopTimeout, 100*time.Millisecond, 10*time.Minute); err != nil {
		return err
	}
	return s.Monitor.check()
}

// check says what is wrong with the monitor.
func (m Monitor) check() error {
	switch m.Kind {
	case "process":
	case "tcp":
		if err := checkHostPort("monitor.target", m.Target, true); err != nil {
			return err
		}
	case "http":
		if u, err := url.Parse(m.Target); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("monitor.target: %q is not an address such as http://127.0.0.1:8080/", m.Target)
		}
	case "command":
		if err := checkCommand("monitor.command", m.Command); err != nil {
			return err
		}
	default:
		return fmt.Errorf("monitor.kind: %q is not known: enter process, tcp, http or command", m.Kind)
	}
	if err := checkTime("monitor.interval", m.Interval, 100*time.Millisecond, time.Hour); err != nil {
		return err
	}
	if err := checkTime("monitor.timeout", m.Timeout, 10*time.Millisecond, 5*time.Minute); err != nil {
		return err
	}
	if m.Failures < 1 || m.Failures > 100 {
		return fmt.Errorf("monitor.failures: %d is out of range: enter 1 to 100", m.Failures)
	}
	if m.Restarts < 0 || m.Restarts > 100 {
		return fmt.Errorf("monitor.restarts: %d is out of range: enter 0 to 100", m.Restarts)
	}
	return nil
}

// checkCommand wants an absolute program: a service does not depend on anybody's PATH.
func checkCommand(key string, argv []string) error {
	if len(argv) == 0 {
		return fmt.Errorf("%s is missing: enter the program and its arguments as a list", key)
	}
	if err := checkPath(key+"[0]", argv[0]); err != nil {
		return err
	}
	for i, a := range argv {
		if strings.ContainsRune(a, 0) {
			return fmt.Errorf("%s[%d] contains a zero byte, which no argument can", key, i)
		}
	}
	return nil
}

// checkTime bounds a duration. A bare number in the file counts nanoseconds and ends here too.
func checkTime(key string, d, low, high time.Duration) error {
	if d < low || d > high {
		return fmt.Errorf("%s: %v is out of range: enter a time with its unit from %q to %q", key, d, low.String(), high.String())
	}
	return nil
}

// checkAfter refuses services that wait for one that does not exist, or for each other in a circle.
func checkAfter(all []Service) error {
	left := map[string][]string{}
	for _, s := range all {
		left[s.Name] = s.After
	}
	for _, s := range all {
		for i, a := range s.After {
			if _, ok := left[a]; !ok {
				return fmt.Errorf("%s.toml: after[%d]: there is no service %q", s.Name, i, a)
			}
		}
	}
	for len(left) > 0 {
		waits := func(a string) bool { _, ok := left[a]; return ok }
		before := len(left)
		for name, after := range left {
			if !slices.ContainsFunc(after, waits) {
				delete(left, name)
			}
		}
		if len(left) == before {
			return errors.New(circle(left))
		}
	}
	return nil
}

// circle names the services that wait for each other.
func circle(left map[string][]string) string {
	var names []string
	for n := range left {
		names = append(names, n)
	}
	slices.Sort(names)
	return fmt.Sprintf("after: the services %s wait for each other: remove one after", strings.Join(names, ", "))
}

// isServiceName keeps names fit for file names and labels.
func isServiceName(s string) bool {
	if len(s) < 1 || len(s) > 32 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
