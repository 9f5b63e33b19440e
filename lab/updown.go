package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"evenkeel/ha/control"
)

// readyLimit is how long the pair may take from power-on until it is in sync and serves.
const readyLimit = 30 * time.Second

func upCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "up", Short: "Start the pair", Args: arguments(0, 0),
		Long: `Start nodes a and b, print their consoles and how to sign in, and stay until Ctrl-C ends the lab. With --detach return
when the pair is in sync and serving, and leave it running.`,
		Example: "  evenkeel lab up\n  evenkeel lab up --detach --profile fast --volume-size 1G\n  evenkeel lab up --dir /tmp/second --console-port 0",
	}
	o := Options{}
	f := c.Flags()
	detach := f.Bool("detach", false, "return when the pair is in sync and serving")
	f.StringVar(&o.Profile, "profile", "standard", "heartbeat profile: standard, fast or cautious")
	size := f.String("volume-size", "256M", "size of the volume data, for example 256M or 1G")
	scratch := f.String("scratch", "", "size of a second volume without filesystem, for example 256M")
	noVolume := f.Bool("no-volume", false, "addresses and services only")
	f.IntVar(&o.ConsolePort, "console-port", 8443, "port of a's console on 127.0.0.1, b's is the next; 0 = any free ones")
	f.Int64Var(&o.Seed, "seed", 0, "seed of which unflushed writes a power cut loses; 0 = a random one")
	f.BoolVar(&o.Bare, "bare", false, "machines and cables only, without Evenkeel's processes")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if *noVolume && (f.Changed("volume-size") || *scratch != "") {
			return usage("--no-volume leaves no volume for --volume-size or --scratch: give one or the other")
		}
		if !*noVolume {
			if o.VolumeSize, err = parseSize("--volume-size", *size); err != nil {
				return err
			}
			if *scratch != "" {
				if o.Scratch, err = parseSize("--scratch", *scratch); err != nil {
					return err
				}
			}
		}
		if !slices.Contains([]string{"standard", "fast", "cautious"}, o.Profile) {
			return usage("--profile %q is none: use standard, fast or cautious", o.Profile)
		}
		if o.ConsolePort < 0 || o.ConsolePort > 65534 {
			return usage("--console-port %d is out of range: enter 1 to 65534, or 0 for any free ones", o.ConsolePort)
		}
		if o.Seed == 0 {
			o.Seed = rand.Int64N(1<<31) + 1
		}
		return bringUp(c, o, *detach)
	}
	return c
}

// Bounds of a volume's size.
const (
	minVolume = 16 << 20
	maxVolume = 1 << 40
)

// parseSize reads a size such as 256M.
func parseSize(flag, s string) (int64, error) {
	digits := strings.TrimRight(s, "KMGkmgiB")
	n, err := strconv.ParseInt(digits, 10, 64)
	shift, known := map[string]int{"": 0, "K": 10, "M": 20, "G": 30}[strings.TrimSuffix(strings.ToUpper(s[len(digits):]), "IB")]
	if err != nil || !known || n < 0 || n > maxVolume>>shift || n<<shift < minVolume {
		return 0, usage("%s %q is no size of a volume: enter 16M to 1024G, for example 256M", flag, s)
	}
	return n << shift, nil
}

// bringUp starts the lab, and either waits until it serves or stays until it is ended.
func bringUp(c *cobra.Command, o Options, detached bool) error {
	l, err := folder(c)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	began := time.Now()
	if err := up(l, o); err != nil {
		return err
	}
	out := c.OutOrStdout()
	if err := greet(out, l, o); err != nil {
		return err
	}
	if detached && !o.Bare {
		if err := awaitServing(ctx, l, o, began.Add(readyLimit)); err != nil {
			printLogs(out, l)
			return err
		}
		fmt.Fprintf(out, "the pair is in sync and serving, %.1f s after it was switched on\n", time.Since(began).Seconds())
	}
	if detached {
		return nil
	}
	return follow(ctx, out, l, o, began)
}

// follow stays until Ctrl-C, which ends the lab, or until somebody else ended it.
func follow(ctx context.Context, out io.Writer, l layout, o Options, began time.Time) error {
	if !o.Bare {
		if err := awaitServing(ctx, l, o, began.Add(readyLimit)); err == nil {
			fmt.Fprintf(out, "the pair is in sync and serving, %.1f s after it was switched on\n", time.Since(began).Seconds())
		} else if ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	r, made, err := readRecord(l)
	if err != nil || !made {
		return err
	}
	for tick := time.NewTicker(500 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			fmt.Fprintln(out, "\nending the lab")
			_, err := down(l)
			return err
		case <-tick.C:
			if !r.Daemon.alive() {
				tick.Stop()
				return nil // `lab down` from elsewhere
			}
		}
	}
}

// greet prints where the pair is and how to sign in.
func greet(out io.Writer, l layout, o Options) error {
	if o.Bare {
		fmt.Fprintf(out, "two bare machines are on; the lab is in %s\n", l.dir)
		return nil
	}
	r, _, err := readRecord(l)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(l.pairing())
	if err != nil {
		return err
	}
	var login credentials
	if err := json.Unmarshal(b, &login); err != nil {
		return fmt.Errorf("%s is damaged: %w", l.pairing(), err)
	}
	fmt.Fprintf(out, "console of a: https://%s\nconsole of b: https://%s\nuser %s, password %s\n",
		r.Consoles["a"], r.Consoles["b"], login.User, login.Password)
	if o.VolumeSize > 0 {
		fmt.Fprintf(out, "guestbook: evenkeel lab exec client -- curl http://%s:%d/entries\n", networks[0].address("virtual"), guestbookPort)
	}
	fmt.Fprintf(out, "logs: %s\n", l.node("{a,b}", "log"))
	return nil
}

// awaitServing waits until both nodes say that the pair is complete; its error says what was missing.
func awaitServing(ctx context.Context, l layout, o Options, end time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := notServing(ctx, l, o)
		if missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the pair does not serve after %s: %s; it is left running: see `evenkeel lab status` and %s, and end it with `evenkeel lab down`",
				readyLimit, missing, l.node("{a,b}", "log"))
		case <-tick.C:
		}
	}
}

// notServing says what is missing until the pair is in sync and serves; "" = nothing.
func notServing(ctx context.Context, l layout, o Options) string {
	masters := 0
	for _, n := range nodes {
		s, err := control.NewClient(l.node(n, "run", control.SocketName)).Status(ctx, "")
		if err != nil {
			return fmt.Sprintf("node %s does not say how it is (%v)", n, err)
		}
		if s.RunningRole == "master" {
			masters++
		}
		if missing := incomplete(s, len(o.volumes())); missing != "" {
			return fmt.Sprintf("node %s: %s", n, missing)
		}
	}
	if masters != 1 {
		return fmt.Sprintf("%d nodes are master", masters)
	}
	return ""
}

// incomplete says what one node's status lacks.
func incomplete(s control.Status, volumes int) string {
	master := s.RunningRole == "master"
	if want := map[bool]string{true: "master", false: "slave"}[master]; s.State != want {
		return "its state is " + s.State + deref(s.StateReason)
	}
	if len(s.Volumes) != volumes {
		return fmt.Sprintf("it knows %d of %d volumes", len(s.Volumes), volumes)
	}
	for _, v := range s.Volumes {
		if v.Disk != "UpToDate" || v.PeerDisk != "UpToDate" || v.Connection != "Connected" {
			return fmt.Sprintf("volume %s is %s here, %s there, %s%s", v.Name, v.Disk, v.PeerDisk, v.Connection, deref(v.Reason))
		}
	}
	for _, a := range s.Addresses {
		if a.Held != master {
			return fmt.Sprintf("address %s is held: %t", a.Address, a.Held)
		}
	}
	for _, v := range s.Services {
		if here := v.Placement == "both" || master == (v.Placement == "master"); here && v.State != "running" {
			return fmt.Sprintf("service %s is %s%s", v.Name, v.State, deref(v.Error))
		}
	}
	return ""
}

// deref is a reason in brackets, if there is one.
func deref(s *string) string {
	if s == nil || *s == "" {
		return ""
	}
	return " (" + *s + ")"
}

// printLogs prints the ends of the nodes' logs.
func printLogs(out io.Writer, l layout) {
	const tail = 2000
	for _, n := range nodes {
		if log, err := os.ReadFile(l.node(n, "log")); err == nil && len(log) > 0 {
			fmt.Fprintf(out, "--- last of node %s's log:\n%s", n, log[max(0, len(log)-tail):])
		}
	}
}
