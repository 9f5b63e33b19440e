package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "status", Short: "Show what this node is and how the pair is", Args: arguments(0)}
	c.Flags().BoolVar(&asJSON, "json", false, "the documented contract, for programs")
	c.RunE = func(c *cobra.Command, _ []string) error {
		s, err := a.status(c.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(a.out, s)
		}
		return printStatus(a.out, s)
	}
	return c
}

func (a *app) status(ctx context.Context) (control.Status, error) {
	client, other, err := a.dial()
	if err != nil {
		return control.Status{}, err
	}
	return client.Status(ctx, other)
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// sentence says the pair's state in one sentence, as seen from this node.
func sentence(s control.Status) string {
	peer := "the other node is " + s.Peer.Verdict
	if s.Peer.Alive {
		peer = "the other node is alive"
		if s.Peer.RunningRole != nil {
			peer += " as " + *s.Peer.RunningRole
		}
	}
	switch s.State {
	case "master":
		return "This node serves; " + peer + "."
	case "slave":
		if s.Takeover.Possible {
			return "This node stands by and could take over; " + peer + "."
		}
		return "This node stands by and cannot take over; " + peer + "."
	}
	return fmt.Sprintf("This node is %s; %s.", s.State, peer)
}

func printStatus(out io.Writer, s control.Status) error {
	if s.StateReason != nil && ha.Reason(*s.StateReason) == ha.ReasonNoSettings { // without settings there is no role, no epoch and nothing to arm
		fmt.Fprintf(out, "%s  %s, without settings\n", s.Node, s.State)
	} else {
		fmt.Fprintf(out, "%s  %s (configured %s)  epoch %d/%s  %s\n", s.Node, s.State, s.ConfiguredRole, s.Epoch.Counter, s.Epoch.Node, armed(s.Armed))
	}
	fmt.Fprintln(out, sentence(s))
	if s.StateReason != nil {
		fmt.Fprintln(out, "Why:", ha.Reason(*s.StateReason).Text())
	}
	for _, c := range s.Conditions {
		fmt.Fprintf(out, "%-8s  %s\n", strings.ToUpper(string(c.Severity)), c.Text)
		if c.Remedy != "" && c.Severity != ha.Info {
			fmt.Fprintf(out, "          %s\n", c.Remedy)
		}
	}
	for _, b := range s.Takeover.Blockers {
		if b.Code != "already_master" {
			fmt.Fprintf(out, "Cannot take over: %s\n", b.Text)
		}
	}
	w := tabwriter.NewWriter(out, 2, 4, 2, ' ', 0)
	fmt.Fprintf(w, "\npeer\t%s\t%s\t%s\n", s.Peer.Node, s.Peer.Verdict, heard(s.Peer.LastHeardMS))
	for _, l := range s.Links {
		fmt.Fprintf(w, "link\t%s\t%s\t%s\tlost %d\n", l.Name, l.State, heard(l.LastHeardMS), l.Lost)
	}
	for _, v := range s.Volumes {
		fmt.Fprintf(w, "volume\t%s\t%s\t%s / peer %s\t%s\t%s\n", v.Name, v.Role, v.Disk, v.PeerDisk, v.Connection, volumeNote(v))
	}
	for _, v := range s.Addresses {
		fmt.Fprintf(w, "address\t%s\t%s\t%s\n", v.Address, v.Device, held(v.Held))
	}
	for _, v := range s.Services {
		fmt.Fprintf(w, "service\t%s\t%s\ton %s\n", v.Name, v.State, v.Placement)
	}
	for _, r := range s.References {
		fmt.Fprintf(w, "reference\t%s\t%s\n", r.Name, r.State)
	}
	return w.Flush()
}

func armed(on bool) string {
	if on {
		return "armed"
	}
	return "DISARMED"
}

func held(on bool) string {
	if on {
		return "held here"
	}
	return "not here"
}

func heard(ms *int64) string {
	if ms == nil {
		return "never heard"
	}
	return fmt.Sprintf("heard %.1f s ago", float64(*ms)/1000)
}

// volumeNote is the rest of a volume's line: mount, progress, what waits.
func volumeNote(v control.Volume) string {
	notes := []string{}
	if v.Mount != nil {
		notes = append(notes, "mounted at "+*v.Mount)
	}
	if v.SplitBrain {
		notes = append(notes, "SPLIT-BRAIN")
	}
	if v.Resync != nil {
		notes = append(notes, fmt.Sprintf("resync %.1f %%, %.1f MB/s", v.Resync.Percent, float64(v.Resync.RateBytes)/1e6))
	}
	if v.OutOfSyncBytes > 0 {
		notes = append(notes, fmt.Sprintf("%.1f MB out of sync", float64(v.OutOfSyncBytes)/1e6))
	}
	if v.Holding {
		notes = append(notes, "HOLDING writes")
	}
	if v.Permission != nil {
		notes = append(notes, "alone by "+*v.Permission)
	}
	if v.Reason != nil {
		notes = append(notes, *v.Reason)
	}
	return strings.Join(notes, ", ")
}

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "One line for monitoring; exit 0 ok, 1 warning, 2 critical, 3 unknown", Args: arguments(0),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.status(c.Context())
			if err != nil {
				fmt.Fprintln(a.out, "EVENKEEL UNKNOWN -", err)
				return exitWith(3)
			}
			code, word, texts := worst(s.Conditions)
			if len(texts) == 0 {
				texts = []string{sentence(s)}
			}
			fmt.Fprintf(a.out, "EVENKEEL %s - %s\n", word, strings.Join(texts, " "))
			if code != 0 {
				return exitWith(code)
			}
			return nil
		},
	}
}

// worst is the Nagios code of a list of conditions and the texts of those that are at least a warning.
func worst(list []control.Condition) (code int, word string, texts []string) {
	word = "OK"
	for _, c := range list {
		switch {
		case c.Severity == ha.Critical:
			code, word = 2, "CRITICAL"
		case c.Severity == ha.Warning && code == 0:
			code, word = 1, "WARNING"
		}
		if c.Severity != ha.Info {
			texts = append(texts, ha.Sentence(c.Text))
		}
	}
	return code, word, texts
}

func (a *app) explainCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "explain", Short: "Say why this node is master or not, and what protects the pair", Args: arguments(0)}
	c.Flags().BoolVar(&asJSON, "json", false, "with the facts of the last decision")
	c.RunE = func(c *cobra.Command, _ []string) error {
		client, err := a.dialHere()
		if err != nil {
			return err
		}
		e, err := client.Explain(c.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(a.out, e)
		}
		printExplanation(a.out, e)
		return nil
	}
	return c
}

func printExplanation(w io.Writer, e control.Explanation) {
	fmt.Fprintln(w, e.Sentence)
	for _, r := range e.Reasons {
		fmt.Fprintf(w, "  %-28s %s\n", r.Code, r.Text)
	}
	list := func(head string, items []string) {
		if len(items) > 0 {
			fmt.Fprintln(w, head)
		}
		for _, i := range items {
			fmt.Fprintln(w, "  -", i)
		}
	}
	list("What protects this pair from split-brain:", e.Rungs)
	list("What remains possible:", e.Remains)
}
