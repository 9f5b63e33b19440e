package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func statusCommand() *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "Processes, networks, cables and faults in force", Args: arguments(0, 0)}
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		l, err := folder(c)
		if err != nil {
			return err
		}
		s, err := askStatus(c.Context(), l)
		if err != nil {
			return err
		}
		if *asJSON {
			e := json.NewEncoder(c.OutOrStdout())
			e.SetIndent("", "  ")
			return e.Encode(s)
		}
		return s.print(c.OutOrStdout())
	}
	return c
}

// print writes the status for people.
func (s Status) print(out io.Writer) error {
	fmt.Fprintf(out, "lab in %s, daemon %d, seed %d\n\n", s.Dir, s.Daemon, s.Options.Seed)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tPOWER\tDISK\tSTATE FOLDER\tCONSOLE\tPROCESSES (pid outside)")
	for _, n := range s.Nodes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", n.Node, n.power(), n.Disk, n.StateDisk, n.Console, n.processes())
	}
	fmt.Fprintln(t, "\nNETWORK\tSUBNET\tGATEWAY\tFAULTS")
	for _, n := range s.Networks {
		gateway := "-"
		if n.Gateway != nil {
			gateway = *n.Gateway
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", n.Name, n.Subnet, gateway, s.networkFaults(n.Name))
	}
	fmt.Fprintf(t, "serial\t%d baud\t-\t%s\n", s.Serial.Baud, s.serialFaults())
	return t.Flush()
}

// power says whether and how a node runs.
func (n NodeStatus) power() string {
	switch {
	case !n.On:
		return "off"
	case n.Frozen != nil:
		return "frozen (" + *n.Frozen + ")"
	}
	return fmt.Sprintf("on (%d)", *n.PID)
}

// processes are names and pids.
func (n NodeStatus) processes() string {
	var list []string
	for _, p := range n.Processes {
		list = append(list, fmt.Sprintf("%s %d", p.Name, p.HostPID))
	}
	return orDash(list)
}

// networkFaults are the faults of a network and its cables.
func (s Status) networkFaults(network string) string {
	var list []string
	if p := s.Loss[network]; p > 0 {
		list = append(list, fmt.Sprintf("loses %g%%", p))
	}
	for _, c := range s.Cables {
		if !strings.HasSuffix(c.Cable, ":"+network) {
			continue
		}
		for _, fault := range []struct {
			is   bool
			text string
		}{
			{c.Cut, "cut"}, {c.DropTo && c.DropFrom, "silent"}, {c.DropTo && !c.DropFrom, "hears nothing"},
			{c.DropFrom && !c.DropTo, "is not heard"}, {c.Loss > 0, fmt.Sprintf("loses %g%%", c.Loss)},
		} {
			if fault.is {
				list = append(list, c.Cable+" "+fault.text)
			}
		}
	}
	return orDash(list)
}

// serialFaults are the faults of the serial line.
func (s Status) serialFaults() string {
	var list []string
	if len(s.Serial.CutTo) == len(nodes) {
		list = append(list, "cut")
	} else if len(s.Serial.CutTo) > 0 {
		list = append(list, "cut towards "+s.Serial.CutTo[0])
	}
	if s.Serial.Noise > 0 {
		list = append(list, fmt.Sprintf("%g%% noise", s.Serial.Noise))
	}
	return orDash(list)
}

// orDash joins a list; an empty one is a dash.
func orDash(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(slices.Compact(list), ", ")
}
