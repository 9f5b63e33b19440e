package lab

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// network is one of the lab's Ethernet networks; the device in each node has its name.
type network struct {
	name    string
	prefix  string // the first three numbers of its /24
	gateway bool   // .254 answers there
	client  bool   // .9 is there
}

// networks of the lab.
var networks = []network{
	{name: "lan", prefix: "10.88.1", gateway: true, client: true},
	{name: "wan", prefix: "10.88.2", gateway: true, client: true},
	{name: "sync", prefix: "10.88.3"},
}

// hostNumber is the last number of a machine's address on each network.
var hostNumber = map[string]int{"a": 1, "b": 2, "client": 9, "gateway": 254, "virtual": 100}

// address of a machine on a network, without prefix length.
func (n network) address(who string) string { return fmt.Sprintf("%s.%d", n.prefix, hostNumber[who]) }

// serialName is the serial line among the cables.
const serialName = "serial"

// cableID names the cable of one node to one network.
type cableID struct{ node, network string }

func (c cableID) String() string { return c.node + ":" + c.network }

// port is the cable's device on the hub's side.
func (c cableID) port() string { return c.node + "-" + c.network }

// cable is what is wrong with one cable.
type cable struct {
	Cut      bool    `json:"cut"`          // no carrier
	DropTo   bool    `json:"drop_to"`      // frames to the node vanish
	DropFrom bool    `json:"drop_from"`    // frames from the node vanish
	Loss     float64 `json:"loss_percent"` // of the frames in each direction
}

// faults is everything that is wrong with the lines. It is a value: the daemon keeps one and makes the world follow it.
type faults struct {
	cables map[cableID]*cable
	loss   map[string]float64 // by network: percent of all frames that enter it
	frozen map[string]bool    // nodes whose frames are dropped both ways
}

// newFaults has all cables in order.
func newFaults() faults {
	f := faults{cables: map[cableID]*cable{}, loss: map[string]float64{}, frozen: map[string]bool{}}
	for _, n := range nodes {
		for _, net := range networks {
			f.cables[cableID{n, net.name}] = &cable{}
		}
	}
	return f
}

// clone is a copy that can be changed by itself.
func (f faults) clone() faults {
	c := faults{cables: map[cableID]*cable{}, loss: maps.Clone(f.loss), frozen: maps.Clone(f.frozen)}
	for id, line := range f.cables {
		copied := *line
		c.cables[id] = &copied
	}
	return c
}

// parseWhat reads the WHAT of cut, join and loss: the cables that it means, and whether the serial line is among them.
func parseWhat(what string) (cables []cableID, serial bool, err error) {
	node, name, one := strings.Cut(what, ":")
	if !one {
		node, name = "", what
	} else if !isNode(node) {
		return nil, false, fmt.Errorf("%q names no cable: the nodes are a and b", what)
	}
	known := name == "all" || name == serialName
	for _, n := range nodes {
		for _, net := range networks {
			known = known || net.name == name
			if (node == "" || node == n) && (name == "all" || name == net.name) {
				cables = append(cables, cableID{n, net.name})
			}
		}
	}
	if !known {
		return nil, false, fmt.Errorf("%q names no cable: use serial, lan, wan, sync, a:lan, a:all or all", what)
	}
	return cables, name == "all" || name == serialName, nil
}

// cut breaks cables. silent: frames vanish and the carrier stays; to: only frames to that node vanish.
func (f faults) cut(cables []cableID, silent bool, to string) {
	for _, id := range cables {
		c := f.cables[id]
		switch {
		case to == id.node:
			c.DropTo = true
		case to != "":
		case silent:
			c.DropTo, c.DropFrom = true, true
		default:
			c.Cut = true
		}
	}
}

// join mends cables; loss stays.
func (f faults) join(cables []cableID) {
	for _, id := range cables {
		*f.cables[id] = cable{Loss: f.cables[id].Loss}
	}
}

// rules is the hub's rule set as nft reads it: it replaces the one before in one step. A frame from a node enters by its
// port (prerouting), one from a gateway is born in the bridge (output), and one to a node leaves by its port (postrouting).
func (f faults) rules() string {
	var in, born, out []string
	for _, net := range networks {
		p := f.loss[net.name]
		for _, who := range append([]string{"client"}, nodes...) {
			if port := (cableID{who, net.name}).port(); p > 0 { // by port: not every kernel can name the bridge in a rule (NFT_BRIDGE_META)
				in = append(in, fmt.Sprintf("iifname %q %s", port, chance(p)))
				born = append(born, fmt.Sprintf("oifname %q %s", port, chance(p)))
			}
		}
	}
	for _, id := range f.sorted() {
		c, port := f.cables[id], id.port()
		if c.DropFrom || f.frozen[id.node] {
			in = append(in, fmt.Sprintf("iifname %q drop", port))
		}
		if c.DropTo || f.frozen[id.node] {
			out = append(out, fmt.Sprintf("oifname %q drop", port))
		}
		if c.Loss > 0 {
			in = append(in, fmt.Sprintf("iifname %q %s", port, chance(c.Loss)))
			out = append(out, fmt.Sprintf("oifname %q %s", port, chance(c.Loss)))
		}
	}
	var b strings.Builder
	b.WriteString("table bridge lab\ndelete table bridge lab\ntable bridge lab {\n")
	chain(&b, "in", "prerouting", in)
	chain(&b, "born", "output", born)
	chain(&b, "out", "postrouting", out)
	b.WriteString("}\n")
	return b.String()
}

// chain writes one chain of rules.
func chain(b *strings.Builder, name, hook string, rules []string) {
	fmt.Fprintf(b, " chain %s {\n  type filter hook %s priority 0; policy accept;\n", name, hook)
	for _, r := range rules {
		b.WriteString("  " + r + "\n")
	}
	b.WriteString(" }\n")
}

// chance is the part of a rule that drops a percentage, in steps of a hundredth.
func chance(percent float64) string {
	return fmt.Sprintf("numgen random mod 10000 < %d drop", int(percent*100))
}

// sorted lists the cables in a fixed order.
func (f faults) sorted() []cableID {
	ids := make([]cableID, 0, len(f.cables))
	for id := range f.cables {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(x, y cableID) int { return strings.Compare(x.port(), y.port()) })
	return ids
}
