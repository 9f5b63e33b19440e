package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"evenkeel/ha/control"
)

// order asks the engine of this node for something and prints the outcome.
func (a *app) order(c *cobra.Command, ask func(context.Context, *control.Client) (control.Outcome, error)) error {
	client, err := a.dialHere()
	if err != nil {
		return err
	}
	o, err := ask(c.Context(), client)
	if err != nil {
		return err
	}
	printOutcome(a.out, o)
	return nil
}

func printOutcome(w io.Writer, o control.Outcome) {
	fmt.Fprintln(w, o.Text)
	preview := o.Code == "possible"
	if preview {
		fmt.Fprintln(w, "These steps would be done, with the time that each took last:")
	}
	for _, s := range o.Steps {
		if !preview && o.Code != "done" {
			break // they are of an earlier move
		}
		state, took := s.State, ""
		if preview {
			state = ""
		}
		if s.MS != nil {
			took = fmt.Sprintf("%d ms", *s.MS)
		}
		fmt.Fprintf(w, "  %-24s %-8s %s\n", s.Name, state, took)
	}
	for _, b := range o.Blockers {
		fmt.Fprintf(w, "  blocked by %s: %s\n", b.Code, b.Text)
	}
}

func (a *app) takeoverCommand() *cobra.Command {
	var o control.Order
	c := &cobra.Command{
		Use: "takeover", Short: "Make this node the running master", Args: arguments(0),
		Long: "Make this node the running master. If the other node serves, it gives the role away in order.\n" +
			"--force starts with this node's data although something newer may exist; type this node's id with --confirm.",
	}
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "only say what would happen")
	c.Flags().BoolVar(&o.Force, "force", false, "start with this node's data although the other may hold newer")
	c.Flags().StringVar(&o.Confirm, "confirm", "", "with --force: this node's own id, typed again")
	c.RunE = func(c *cobra.Command, _ []string) error {
		switch {
		case o.Force && o.Confirm == "":
			return usageError{fmt.Errorf("--force needs --confirm NODE with this node's own id")}
		case !o.Force && c.Flags().Changed("confirm"):
			return usageError{fmt.Errorf("--confirm goes with --force: leave it out for an ordinary takeover")}
		}
		o.By = by()
		return a.order(c, func(ctx context.Context, e *control.Client) (control.Outcome, error) { return e.Takeover(ctx, o) })
	}
	return c
}

func (a *app) releaseCommand() *cobra.Command {
	var o control.Order
	c := &cobra.Command{Use: "release", Short: "Make this node the running slave: the other becomes master", Args: arguments(0)}
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "only say what would happen")
	c.RunE = func(c *cobra.Command, _ []string) error {
		o.By = by()
		return a.order(c, func(ctx context.Context, e *control.Client) (control.Outcome, error) { return e.Release(ctx, o) })
	}
	return c
}

func (a *app) standbyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "standby on|off", Short: "Keep this node from becoming master, or let it again",
		Args: arguments(1), ValidArgs: []string{"on", "off"},
		RunE: func(c *cobra.Command, args []string) error {
			if args[0] != "on" && args[0] != "off" {
				return usageError{fmt.Errorf("standby %q is not known: enter on or off", args[0])}
			}
			on := args[0] == "on"
			return a.order(c, func(ctx context.Context, e *control.Client) (control.Outcome, error) {
				return e.Standby(ctx, control.Switch{On: on, By: by()})
			})
		},
	}
}

func (a *app) armCommand(on bool) *cobra.Command {
	use, short := "arm", "Let the pair act again"
	if !on {
		use, short = "disarm", "Let the pair only observe: no takeover by itself; the data rules stay in force"
	}
	return &cobra.Command{
		Use: use, Short: short, Args: arguments(0),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.order(c, func(ctx context.Context, e *control.Client) (control.Outcome, error) {
				return e.Armed(ctx, control.Switch{On: on, By: by()})
			})
		},
	}
}

func (a *app) eventsCommand() *cobra.Command {
	var asJSON, follow bool
	var f control.EventFilter
	c := &cobra.Command{Use: "events", Short: "Show what happened", Args: arguments(0)}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	c.Flags().BoolVar(&follow, "follow", false, "go on with new ones until interrupted")
	c.Flags().IntVar(&f.Limit, "limit", 200, "the newest so many")
	c.Flags().StringVar(&f.Log, "log", "", "heartbeat or failover")
	c.Flags().StringVar(&f.Severity, "severity", "", "info, warning or critical: this or worse")
	c.Flags().StringVar(&f.Text, "text", "", "only those that contain this")
	c.RunE = func(c *cobra.Command, _ []string) error {
		client, other, err := a.dial()
		if err != nil {
			return err
		}
		if f.Log != "" && !slices.Contains([]string{"heartbeat", "failover"}, f.Log) {
			return usageError{fmt.Errorf("--log %q is none: enter heartbeat or failover", f.Log)}
		}
		if follow && other != "" {
			return usageError{fmt.Errorf("--follow shows the events of the node that it is given to: run it on node %s", other)}
		}
		f.Node = other
		list, err := client.Events(c.Context(), f)
		if err != nil {
			return err
		}
		for _, e := range list {
			a.printEvent(e, asJSON)
			f.After = e.ID
		}
		if !follow {
			return nil
		}
		return a.follow(c.Context(), client, f, asJSON)
	}
	return c
}

// follow prints what else the filter selects, until Ctrl-C: that is the way to end it, not a failure.
func (a *app) follow(ctx context.Context, client *control.Client, f control.EventFilter, asJSON bool) error {
	err := client.StreamEvents(ctx, f, func(e control.Event) { a.printEvent(e, asJSON) })
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (a *app) printEvent(e control.Event, asJSON bool) {
	if asJSON {
		if b, err := json.Marshal(e); err == nil {
			fmt.Fprintf(a.out, "%s\n", b)
		}
		return
	}
	fmt.Fprintf(a.out, "%s  %s  %-8s  %-24s %s\n", e.At.Local().Format(time.DateTime+".000"), e.Node, e.Severity, e.Code, e.Text)
}
