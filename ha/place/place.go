// Package place says which services run on a side, and in which order they start and stop. It is pure.
//
//	volumes, mount | before the address: layer, layer ... | addresses | after the address: layer, layer ...
//
// The services of one layer depend on nothing in it and start together.
package place

import (
	"slices"

	"evenkeel/ha"
)

// Service is what matters of one placed service.
type Service struct {
	Name         string
	Placement    ha.Side // MasterSide, SlaveSide, Both
	Volume       string  // needs this volume mounted; empty = none
	NeedAddress  bool    // needs the virtual addresses
	AfterAddress bool    // starts after them; else before, so that no client meets a kernel without a listener
	After        []string
}

// onlyMaster says whether a service can run nowhere but on the master, who has the volumes and the addresses.
func (s Service) onlyMaster() bool { return s.Volume != "" || s.NeedAddress }

// Here picks the services that run on a side: MasterSide on the running master, SlaveSide on the running slave, none
// on any other. A service of the slave runs on the master when no slave stands by, or when only a master can run it.
func Here(all []Service, side ha.Side, slaveStandsBy bool) []Service {
	var here []Service
	for _, s := range all {
		onMaster := s.Placement != ha.SlaveSide || s.onlyMaster() || !slaveStandsBy
		onSlave := s.Placement != ha.MasterSide && !s.onlyMaster()
		if side == ha.MasterSide && onMaster || side == ha.SlaveSide && onSlave {
			here = append(here, s)
		}
	}
	return here
}

// Order is the order of starting: layers before the addresses and after them.
type Order struct {
	Before, After [][]string
}

// Start orders services. One that waits for a service after the address is itself after it. A dependency on a service
// that does not run here counts for nothing; a circle, which ha/config refuses, is cut at its first name.
func Start(here []Service) Order {
	late := lateOnes(here)
	var before, after []Service
	for _, s := range here {
		if late[s.Name] {
			after = append(after, s)
		} else {
			before = append(before, s)
		}
	}
	return Order{Before: layers(before), After: layers(after)}
}

// Stop is the opposite of Start: what started last stops first.
func (o Order) Stop() (afterAddress, beforeAddress [][]string) {
	return reversed(o.After), reversed(o.Before)
}

// lateOnes names the services after the address, those that wait for one included.
func lateOnes(here []Service) map[string]bool {
	late := map[string]bool{}
	for range here { // each round carries it one step on
		for _, s := range here {
			if s.AfterAddress || slices.ContainsFunc(s.After, func(a string) bool { return late[a] }) {
				late[s.Name] = true
			}
		}
	}
	return late
}

// layers sorts services so that each stands in a later layer than those it waits for; names are in order within a layer.
func layers(all []Service) [][]string {
	left := map[string][]string{}
	for _, s := range all {
		left[s.Name] = s.After
	}
	var out [][]string
	for len(left) > 0 {
		var free, rest []string
		for name, after := range left {
			waits := func(a string) bool { _, is := left[a]; return is && a != name }
			if slices.ContainsFunc(after, waits) {
				rest = append(rest, name)
			} else {
				free = append(free, name)
			}
		}
		if len(free) == 0 {
			free = []string{slices.Min(rest)}
		}
		slices.Sort(free)
		for _, name := range free {
			delete(left, name)
		}
		out = append(out, free)
	}
	return out
}

// reversed turns layers round.
func reversed(in [][]string) [][]string {
	out := slices.Clone(in)
	slices.Reverse(out)
	return out
}
