package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"evenkeel/ha"
)

// Script plays a scenario and returns it with what happened: the text's command lines ("> ...") and comments ("# ...") stay, the lines
// between are replaced by the events and answers that follow each command. The commands:
//
//	pair standard|fast [novolume|two] [noreference] [availability]
//	start a|b   kill a|b   freeze a|b 8s   hang a|b 8s (its kernel answers)
//	cut WHAT   join WHAT (World.Cut)   gateway on|off|slow 140ms|loss 50%
//	pause a|b heart|engine 5s (it goes on with what it knew)   filter a|b [off] (its beats are lost, other frames pass)
//	die a|b heart|engine|volume 300ms   wish a|b takeover|force|release|standby|active|arm|disarm|continue|leave
//	disk a|b Failed   failmount 0|1   run 5s   status
//
// The first broken "never" rule is shown where it was broken.
func Script(text string) (string, error) {
	var out strings.Builder
	var w *World
	for number, line := range strings.Split(text, "\n") {
		command, is := strings.CutPrefix(line, "> ")
		if !is {
			if line == "" || strings.HasPrefix(line, "#") {
				out.WriteString(line + "\n")
			}
			continue
		}
		out.WriteString(line + "\n")
		fields := strings.Fields(command)
		if fields[0] == "pair" {
			w = New(pairOptions(fields[1:]))
			continue
		}
		if w == nil {
			return "", fmt.Errorf("line %d: the first command is not pair", number+1)
		}
		if err := w.command(fields, &out); err != nil {
			return "", fmt.Errorf("line %d: %q: %w", number+1, command, err)
		}
		w.drain(&out)
	}
	return strings.TrimRight(out.String(), "\n") + "\n", nil
}

func pairOptions(words []string) Options {
	o := Standard(1)
	if slices.Contains(words, "fast") {
		o = Fast(1)
	}
	o.NoVolume = slices.Contains(words, "novolume")
	o.Two = slices.Contains(words, "two")
	o.NoReference = slices.Contains(words, "noreference")
	o.Availability = slices.Contains(words, "availability")
	return o
}

// drain writes the events since the last command; those of single links are left to the conditions in status.
func (w *World) drain(out *strings.Builder) {
	for _, l := range w.Log {
		if !strings.Contains(l, "fresh is heard over") && !strings.Contains(l, "node is heard over") {
			out.WriteString(l + "\n")
		}
	}
	for _, p := range w.Problems {
		out.WriteString("BROKEN " + p + "\n")
	}
	w.Log, w.Problems = nil, nil
}

// command carries out one line.
func (w *World) command(f []string, out *strings.Builder) error {
	arg := func(i int) string {
		if i < len(f) {
			return f[i]
		}
		return ""
	}
	long := func(i int) time.Duration {
		d, err := time.ParseDuration(arg(i))
		if err != nil {
			d = time.Second
		}
		return d
	}
	n := w.Node(arg(1))
	switch f[0] {
	case "start":
		n.Start()
	case "kill":
		n.Kill()
	case "freeze", "hang":
		n.Freeze(long(2), f[0] == "hang")
	case "cut":
		w.Cut(arg(1))
	case "join":
		w.Join(arg(1))
	case "gateway":
		w.gateway(arg(1), arg(2), long(2))
	case "die":
		return n.dieProcess(arg(2), long(3))
	case "pause":
		n.pause(arg(2), long(3))
	case "filter":
		w.filter(n, arg(2) != "off")
	case "wish":
		if arg(2) == "force" {
			n.Wish(ha.WishTakeover, true)
		} else {
			n.Wish(ha.AdminKind(arg(2)), false)
		}
	case "disk":
		for _, v := range n.vols {
			if arg(3) == "" || arg(3) == v.name {
				v.disk = ha.Disk(arg(2))
				if v.disk == ha.DiskFailed {
					v.fail()
				}
			}
		}
	case "failmount":
		w.Options.FailMount = map[string]float64{"1": 1}[arg(1)]
	case "run":
		w.Run(long(1))
		w.restartLeavers()
	case "status":
		w.status(out)
	default:
		return fmt.Errorf("unknown command")
	}
	return nil
}

// gateway sets how the reference point answers; "on" is at once and always.
func (w *World) gateway(how, share string, delay time.Duration) {
	w.Gateway, w.GatewayDelay, w.GatewayLoss = how != "off", 0, 0
	switch how {
	case "slow":
		w.GatewayDelay = delay
	case "loss":
		percent, _ := strconv.Atoi(strings.TrimSuffix(share, "%"))
		w.GatewayLoss = float64(percent) / 100
	}
}

func (n *Node) pause(name string, d time.Duration) {
	if name == "heart" {
		n.PauseHeart(d)
	} else {
		n.PauseEngine(d)
	}
}

func (n *Node) dieProcess(name string, d time.Duration) error {
	switch name {
	case "heart":
		n.KillHeart(d)
	case "engine":
		n.KillEngine(d)
	case "volume":
		for _, v := range n.vols {
			n.KillVolume(v, d)
		}
	default:
		return fmt.Errorf("no process %q", name)
	}
	return nil
}

// status writes one line for each node.
func (w *World) status(out *strings.Builder) {
	for _, n := range w.Nodes {
		if !n.power {
			fmt.Fprintf(out, "        %s off\n", n.ID)
			continue
		}
		fmt.Fprintf(out, "        %s %s (%s), peer %s, epoch %s", n.ID, n.engine.plan.Role, n.engine.plan.Reason, n.engine.plan.Verdict, n.engine.plan.Say.Epoch)
		if n.holds() {
			out.WriteString(", address")
		}
		n.statusVolume(out)
		fmt.Fprintf(out, ", takeover %s; %s\n", blockerCodes(n.engine.plan.Takeover), conditionCodes(n.engine.plan.Conditions))
	}
}

func (n *Node) statusVolume(out *strings.Builder) {
	if n.w.Options.NoVolume {
		return
	}
	for _, v := range n.vols {
		v.status(out)
	}
}

func (v *volume) status(out *strings.Builder) {
	if v.index > 0 {
		fmt.Fprintf(out, "; %s:", v.name)
	} else {
		out.WriteString(",")
	}
	fmt.Fprintf(out, " %s %s", v.role, v.disk)
	if v.connected {
		out.WriteString(" connected")
	}
	if v.permission != "" {
		out.WriteString(" alone:" + v.permission)
	}
	if len(v.held) > 0 && !v.connected {
		out.WriteString(" holding")
	}
	if v.split {
		out.WriteString(" SPLIT")
	}
}

func blockerCodes(t ha.Takeover) string {
	if len(t.Blockers) == 0 {
		return "possible"
	}
	var codes []string
	for _, b := range t.Blockers {
		codes = append(codes, b.Code)
	}
	return strings.Join(codes, "+")
}

func conditionCodes(all []ha.Condition) string {
	if len(all) == 0 {
		return "no condition"
	}
	var codes []string
	for _, c := range all {
		code := c.Code
		if c.Key != "" && c.Key != "data" {
			code += ":" + c.Key
		}
		codes = append(codes, code)
	}
	return strings.Join(codes, " ")
}
