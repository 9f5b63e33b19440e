package handlers

import (
	"fmt"

	"evenkeel/ha"
	"evenkeel/ha/control"
	"evenkeel/templates"
)

// Measures of the drawing, in units of its view box.
//
//	+-----------+  ✓ lan   120 ms       +-----------+
//	| master    |-----------------------| slave     |
//	| Master    |  ✓ serial 200 ms      | Slave     |
//	| 10.88...  |=====================>>|           |
//	+-----------+   data 100 %          +-----------+
const (
	plateWidth = 216
	wideWidth  = 760
	tallWidth  = 340
	lineStep   = 36
	plateHead  = 108 // above the first tag
	tagStep    = 26
	tallGap    = 26 // between two lines of the tall drawing
)

// drawing draws the pair: the configured master left or on top. Its title says the same in words.
func drawing(s *control.Status, stale, tall bool) templates.Drawing {
	own, peer := plates(s, stale)
	left, right := own, peer
	if s.ConfiguredRole == string(ha.SlaveSide) {
		left, right = peer, own
	}
	lines := linesOf(s, stale, s.ConfiguredRole == string(ha.MasterSide))
	height := max(plateHead+tagStep*max(len(left.Tags), len(right.Tags)), 120)
	d := templates.Drawing{Tall: tall, Lines: lines,
		Title: fmt.Sprintf("%s is %s, %s is %s, %d links.", left.Name, left.Role, right.Name, right.Role, len(s.Links))}
	if tall {
		d.Width = tallWidth
		place(&left, 1, 1, tallWidth-2, height)
		gap := tallGap*len(lines) + 24
		place(&right, 1, 1+height+gap, tallWidth-2, height)
		d.Height = 2*height + gap + 2
		for i := range lines {
			layDown(&lines[i], i, len(lines), height+1, height+1+gap)
		}
	} else {
		height = max(height, lineStep*len(lines)+24)
		d.Width, d.Height = wideWidth, height+2
		place(&left, 1, 1, plateWidth, height)
		place(&right, wideWidth-plateWidth-1, 1, plateWidth, height)
		for i := range lines {
			layAcross(&lines[i], 40+i*lineStep)
		}
	}
	d.Plates = []templates.Plate{left, right}
	return d
}

// plates makes both nodes' plates, with each virtual address on the plate of its holder.
func plates(s *control.Status, stale bool) (own, peer templates.Plate) {
	own = templates.Plate{Name: s.Node, Configured: s.Node + " · configured " + s.ConfiguredRole, State: aged(roleState(s.State), stale), Note: "this node"}
	peer = templates.Plate{Name: s.Peer.Node, Configured: s.Peer.Node + " · configured " + otherSide(s.ConfiguredRole), State: aged(peerState(s.Peer), stale)}
	own.Role, peer.Role = own.State.Word, peer.State.Word
	own.State.Word = stateWords[ha.Role(s.State)]
	peer.State.Word = peerWords[ha.PeerVerdict(s.Peer.Verdict)]
	if s.Peer.LastHeardMS != nil {
		peer.Note = "heard " + heardText(*s.Peer.LastHeardMS)
	} else {
		peer.Note = "never heard"
	}
	if s.Attention {
		own.State, own.Note = aged(templates.State{Kind: templates.Warning, Word: "Active Attention"}, stale), "serves with problems"
	}
	there := s.Peer.Alive && s.Peer.RunningRole != nil && *s.Peer.RunningRole == string(ha.MasterSide)
	for _, a := range s.Addresses {
		switch {
		case a.Held:
			own.Tags = append(own.Tags, templates.Tag{Text: a.Address})
		case there:
			peer.Tags = append(peer.Tags, templates.Tag{Text: a.Address})
		}
	}
	return own, peer
}

// stateWords say below a role what it means.
var stateWords = map[ha.Role]string{ha.Master: "serves", ha.Slave: "stands by", ha.Starting: "listens for the other node", ha.Promoting: "becomes master",
	ha.Demoting: "gives the role away", ha.Standby: "must not become master", ha.Blocked: "waits for a person", ha.Failed: "could not stop something"}

// peerWords say what is heard of the other node.
var peerWords = map[ha.PeerVerdict]string{ha.PeerAlive: "alive", ha.PeerSuspect: "beats are missing", ha.PeerSick: "only its kernel answers",
	ha.PeerDead: "answers nowhere", ha.PeerUnknown: "not heard yet"}

// place puts a plate and its tags.
func place(p *templates.Plate, x, y, w, h int) {
	p.X, p.Y, p.W, p.H = x, y, w, h
	for i := range p.Tags {
		p.Tags[i].X, p.Tags[i].Y, p.Tags[i].W = x+12, y+plateHead-4+i*tagStep, w-24
	}
}

// linesOf makes a line per link and an arrow per volume, which point in the direction of the data.
func linesOf(s *control.Status, stale, ownIsLeft bool) []templates.Line {
	var lines []templates.Line
	for _, l := range s.Links {
		state := aged(linkState(l), stale)
		detail := "never heard"
		if l.LastHeardMS != nil {
			detail = spanText(*l.LastHeardMS)
		}
		if state.Kind != templates.OK && state.Word != detail {
			detail = state.Word + ", " + detail
		}
		lines = append(lines, templates.Line{Name: l.Name, Detail: detail, State: state, Dashed: state.Kind != templates.OK})
	}
	for _, v := range s.Volumes {
		state := aged(diskState(v), stale)
		line := templates.Line{Name: v.Name, Volume: true, State: state, Dashed: stale || !connected(v.Connection), Detail: v.Disk + " / " + v.PeerDisk}
		switch {
		case v.SplitBrain:
			line.Detail = "split-brain, " + v.Connection
		case !connected(v.Connection):
			line.Detail = v.Disk + ", " + v.Connection
		case v.Resync != nil:
			line.Detail = progress(v)
		}
		fromOwn := v.Role == string(ha.Primary)
		switch v.Connection {
		case "SyncSource":
			fromOwn = true
		case "SyncTarget":
			fromOwn = false
		}
		if connected(v.Connection) {
			line.Arrow = "left"
			if fromOwn == ownIsLeft {
				line.Arrow = "right"
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// layAcross lays a line between two plates side by side.
func layAcross(l *templates.Line, y int) {
	const from, to = plateWidth + 1, wideWidth - plateWidth - 1
	l.X1, l.Y1, l.X2, l.Y2 = from, y, to, y
	l.TextX, l.TextY, l.Middle = (from+to)/2, y-8, true
	switch l.Arrow {
	case "right":
		l.X2, l.Arrow = to-12, fmt.Sprintf("%d,%d %d,%d %d,%d", to-14, y-7, to, y, to-14, y+7)
	case "left":
		l.X1, l.Arrow = from+12, fmt.Sprintf("%d,%d %d,%d %d,%d", from+14, y-7, from, y, from+14, y+7)
	}
}

// layDown lays a line between two plates one above the other; its text stands beside it, one line of text per line.
func layDown(l *templates.Line, i, n, from, to int) {
	x := 16 + i*14
	l.X1, l.Y1, l.X2, l.Y2 = x, from, x, to
	l.TextX, l.TextY = 16+14*n, from+tallGap*(i+1)-2
	switch l.Arrow {
	case "right":
		l.Y2, l.Arrow = to-12, fmt.Sprintf("%d,%d %d,%d %d,%d", x-7, to-14, x, to, x+7, to-14)
	case "left":
		l.Y1, l.Arrow = from+12, fmt.Sprintf("%d,%d %d,%d %d,%d", x-7, from+14, x, from, x+7, from+14)
	}
}
