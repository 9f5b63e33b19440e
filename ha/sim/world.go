// Package sim is the seeded world of both nodes: two real [ha.Machine]s, and models of everything around them (hearts, links, volumes,
// engines that carry plans out with delays and failures, reference points, power, clocks). It is imported by tests only.
//
// The world runs in simulated time, in ticks of 10 ms, and draws every chance from one seed, so a failure is repeated by its seed.
// While it runs, the "never" rules of 30-decisions are checked (check.go).
//
//	        lan, sync, serial, each direction by itself: cut, loss
//	node a ================================================== node b
//	heart, engine(Machine), volume                heart, engine(Machine), volume
//	   `---- lan ---- reference point ---- lan ----'
package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"evenkeel/ha"
)

// Tick is the grain of simulated time.
const Tick = 10 * time.Millisecond

// Cables are the networks of the pair; beats go over each, replication over sync, the reference point stands on lan.
var Cables = []string{"serial", "lan", "sync"}

// World is both nodes and what is between them.
type World struct {
	Now           time.Duration // true time since the beginning
	Rand          *rand.Rand
	Nodes         [2]*Node
	Options       Options
	Gateway       bool               // the reference point is alive
	GatewayDelay  time.Duration      // how long its answers take; at least a tick
	GatewayLoss   float64            // how many of its answers are lost
	Loss          map[string]float64 // by cable
	Delay         map[string]time.Duration
	Log           []string          // one line for each event of a node
	Problems      []string          // broken "never" rules
	Flight        []flight          // beats on their way
	Acked         map[int]int       // writes that were acknowledged to a client: 1 + the volume's index
	links         []replicationLink // by volume
	nextID        int
	doubled       time.Duration // how long both hold the address by now
	doubledLinked time.Duration
	excused       bool            // a total partition with good reference points on both sides came about since both were equal
	forced        bool            // a person forced a start: its losses are that person's
	epoch         uint64          // highest counter that a node has stored
	rises         []time.Duration // when it rose, the last few times
	steepest      int             // most rises within riseWindow so far
	apart         time.Duration   // how long the total partition that is an excuse lasts by now
}

// Options are the settings of the pair.
type Options struct {
	Seed         uint64
	DeadTime     time.Duration
	Interval     time.Duration
	BootWait     time.Duration
	NoVolume     bool
	Two          bool // two volumes
	Wild         bool // the faults of wild.go too
	NoReference  bool
	Availability bool
	FailMount    float64 // chance that a promotion's mount fails
}

// Standard are the times of the Standard profile with the lab's boot wait.
func Standard(seed uint64) Options {
	return Options{Seed: seed, DeadTime: 3 * time.Second, Interval: 200 * time.Millisecond, BootWait: 5 * time.Second}
}

// Fast are the times of the Fast profile.
func Fast(seed uint64) Options {
	return Options{Seed: seed, DeadTime: 600 * time.Millisecond, Interval: 100 * time.Millisecond, BootWait: 5 * time.Second}
}

// New makes a world with both machines powered off, in sync, node a primary last.
func New(o Options) *World {
	w := &World{
		Rand: rand.New(rand.NewPCG(o.Seed, 0x65766b)), Options: o, Gateway: true,
		Loss: map[string]float64{}, Delay: map[string]time.Duration{}, Acked: map[int]int{},
	}
	w.links = make([]replicationLink, 1)
	if o.Two {
		w.links = make([]replicationLink, 2)
	}
	for i, id := range []ha.NodeID{"a", "b"} {
		n := &Node{w: w, ID: id, index: i, out: map[string]bool{}, mute: map[string]bool{}, rate: 1, deadTime: o.DeadTime, durable: ha.Durable{Armed: true}}
		for _, c := range Cables {
			n.out[c] = true
		}
		for k, name := range []string{"data", "mail"}[:len(w.links)] {
			n.vols = append(n.vols, &volume{n: n, name: name, index: k, gens: []string{"g0"}, disk: ha.UpToDate, hadPeer: true, running: true, lastPrimary: i == 0})
		}
		if o.Wild {
			n.rate = 1 + float64(w.Rand.IntN(31)-15)/1000
			if w.Rand.IntN(3) == 0 {
				n.deadTime += o.DeadTime * time.Duration(w.Rand.IntN(10)) / 10
			}
		}
		w.Nodes[i] = n
	}
	return w
}

// Node returns a node by its id.
func (w *World) Node(id string) *Node {
	if id == "a" {
		return w.Nodes[0]
	}
	return w.Nodes[1]
}

// Run lets time pass.
func (w *World) Run(d time.Duration) {
	for end := w.Now + d; w.Now < end; {
		w.Now += Tick
		w.deliver()
		w.replicate()
		for _, n := range w.Nodes {
			n.tick()
		}
		w.check()
	}
}

func (w *World) logf(n *Node, format string, a ...any) {
	w.Log = append(w.Log, fmt.Sprintf("%7.2f %s %s", w.Now.Seconds(), n.ID, fmt.Sprintf(format, a...)))
}

func (w *World) problem(format string, a ...any) {
	w.Problems = append(w.Problems, fmt.Sprintf("%.2f s: ", w.Now.Seconds())+fmt.Sprintf(format, a...))
}

// between draws a duration.
func (w *World) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.Rand.Int64N(int64(b-a)+1))
}

// open says whether frames go from n to the other node over a cable.
func (w *World) open(n *Node, cable string) bool {
	return n.out[cable] && n.kernelUp() && n.other().kernelUp()
}

// beats says whether beats pass in both directions over a cable.
func (w *World) beats(cable string) bool {
	return w.bothWays(cable) && !w.Nodes[0].mute[cable] && !w.Nodes[1].mute[cable]
}

// dead is D as a node counts with it: the larger of its own and what it last heard of the other's.
func (n *Node) dead() time.Duration {
	if b := n.heardBeat(); b != nil {
		return max(n.deadTime, b.DeadTime)
	}
	return n.deadTime
}

// heardBeat is the newest fresh beat: the engine keeps it when heart begins anew.
func (n *Node) heardBeat() *ha.Beat {
	if n.heart.newest != nil {
		return n.heart.newest
	}
	return n.engine.kept.beat
}

// bothWays says whether a cable works in both directions.
func (w *World) bothWays(cable string) bool {
	return w.open(w.Nodes[0], cable) && w.open(w.Nodes[1], cable)
}

// Cut breaks something: a cable by its name, "a:lan" one node's plug, "a:all", "all" with the reference point; "a>lan" only what a sends,
// "a<all" all that a would hear, the reference point's answers too.
func (w *World) Cut(what string) { w.set(what, false) }

// Join mends it.
func (w *World) Join(what string) { w.set(what, true) }

func (w *World) set(what string, on bool) {
	if id, cable, ok := strings.Cut(what, ">"); ok {
		w.Node(id).out[cable] = on
		return
	}
	if id, _, ok := strings.Cut(what, "<"); ok {
		n := w.Node(id)
		n.unplugged = !on
		for _, c := range Cables {
			n.other().out[c] = on
		}
		return
	}
	id, cable, one := strings.Cut(what, ":")
	if !one {
		id, cable = "", what
	}
	if what == "all" || what == "gateway" {
		w.Gateway = on
	}
	for _, c := range Cables {
		if cable != c && cable != "all" {
			continue
		}
		w.Nodes[0].out[c], w.Nodes[1].out[c] = on, on
		for _, n := range w.Nodes {
			if c == "lan" && (!one || string(n.ID) == id) && cable != "lan" || c == "lan" && one && string(n.ID) == id {
				n.unplugged = !on
			}
		}
	}
}

// flight is a beat on its way.
type flight struct {
	to    *Node
	cable int
	at    time.Duration
	beat  ha.Beat
	boot  ha.BootName // of the receiver whose numbers Heard echoes
}

func (w *World) deliver() {
	keep := w.Flight[:0]
	for _, f := range w.Flight {
		switch {
		case f.at > w.Now:
			keep = append(keep, f)
		case f.to.running() && f.to.heart.up && f.to.heart.pausedTill != 0:
			f.at = f.to.heart.pausedTill + Tick
			keep = append(keep, f)
		case f.to.running() && f.to.heart.up:
			f.to.hear(f)
		case f.to.power && f.to.frozen() && w.Rand.IntN(4) == 0:
			f.at = f.to.frozenTill + Tick // stays in a socket buffer: an old beat that is read after the thaw
			keep = append(keep, f)
		}
	}
	w.Flight = slices.Clone(keep)
}

// Node is one machine.
type Node struct {
	w          *World
	ID         ha.NodeID
	index      int
	power      bool
	bootedAt   time.Duration
	boot       ha.BootName
	boots      byte
	frozenTill time.Duration
	frozeAt    time.Duration
	kernelLive bool // while frozen: its kernel still answers
	out        map[string]bool
	mute       map[string]bool // its beats do not pass here, other frames do
	rate       float64         // of its clock
	deadTime   time.Duration   // its own setting
	unplugged  bool            // its lan plug is out: the reference point is not reached
	heart      heart
	engine     engine
	vols       []*volume
	durable    ha.Durable // its file on disk
	address    bool
	addressTo  time.Duration // end of the kernel's lifetime
	mounted    bool
	services   bool
	left       bool // its supervisor ends: the node is switched off at the story's end, whatever becomes of its engine
}

func (n *Node) other() *Node   { return n.w.Nodes[1-n.index] }
func (n *Node) frozen() bool   { return n.w.Now < n.frozenTill }
func (n *Node) running() bool  { return n.power && !n.frozen() }
func (n *Node) kernelUp() bool { return n.power && (!n.frozen() || n.kernelLive) }
func (n *Node) now() ha.Instant {
	return ha.Instant(float64(n.w.Now-n.bootedAt)*n.rate) + ha.Instant(time.Hour)
}
func (n *Node) holds() bool      { return n.address && n.w.Now < n.addressTo && n.kernelUp() }
func (n *Node) referenced() bool { return n.w.Gateway && !n.unplugged && n.power }

// Role is what its engine's last plan made of it.
func (n *Node) Role() ha.Role { return n.engine.plan.Role }

// Plan is its engine's last plan.
func (n *Node) Plan() ha.Plan { return n.engine.plan }

// Serves says whether clients are answered here: it runs, holds the address and runs the services.
func (n *Node) Serves() bool { return n.running() && n.holds() && n.services }

// Start powers a machine on.
func (n *Node) Start() {
	if n.power {
		return
	}
	n.boots++
	n.power, n.bootedAt = true, n.w.Now
	n.boot = ha.BootName{byte(n.ID[0]), n.boots}
	n.frozenTill = 0
	n.heart = heart{up: true, since: n.now(), seq: uint64(n.boots) << 32, sent: map[uint64]ha.Instant{}}
	for _, v := range n.vols {
		v.boot()
	}
	n.startEngine()
}

// Kill cuts the power.
func (n *Node) Kill() {
	if !n.power {
		return
	}
	n.power, n.left = false, false
	n.address, n.mounted, n.services = false, false, false
	n.engine = engine{}
	for _, v := range n.vols {
		v.die()
	}
}

// Freeze pauses a machine; with kernel its kernel goes on answering.
func (n *Node) Freeze(d time.Duration, kernel bool) {
	if n.power && !n.frozen() {
		n.frozeAt, n.frozenTill, n.kernelLive = n.w.Now, n.w.Now+d, kernel
	}
}

func (n *Node) tick() {
	if !n.running() {
		return
	}
	if n.frozenTill != 0 {
		n.heart.wokeAt, n.heart.late = n.now(), n.w.Now-n.frozeAt
		n.frozenTill = 0
	}
	n.heartTick()
	for _, v := range n.vols {
		v.tick()
	}
	n.engineTick()
	n.serviceTick()
	if !n.holds() {
		n.address = false
	}
}
