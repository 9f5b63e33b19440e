// Package replication holds the words of replicated volumes and the decision whether a disk is to be trusted: generations, the
// handshake's verdict, the state of one volume. It is a pure core; the loop that owns a [Session] is replication/volume.
//
// The words, states and their order are DRBD's (drbd-headers, User's Guide); where 40-replication says otherwise, that page stands.
// Nothing here knows anything of the house of ha.
package replication

import (
	"encoding/hex"
	"fmt"
)

// Role is the role of one side of a volume.
type Role string

// Primary is usable; Secondary receives and can be read by nobody.
const (
	Primary   Role = "Primary"
	Secondary Role = "Secondary"
)

// DiskState is DRBD's disk state; the order is part of its meaning (worse is lower).
type DiskState uint8

// The disk states. This numbering is part of the metadata and wire formats: only append.
const (
	Diskless     DiskState = 1
	Failed       DiskState = 2
	Inconsistent DiskState = 3
	Outdated     DiskState = 4
	DUnknown     DiskState = 5
	Consistent   DiskState = 6
	UpToDate     DiskState = 7
)

var diskNames = map[DiskState]string{
	Diskless: "Diskless", Failed: "Failed", Inconsistent: "Inconsistent", Outdated: "Outdated",
	DUnknown: "DUnknown", Consistent: "Consistent", UpToDate: "UpToDate",
}

// String is DRBD's word.
func (d DiskState) String() string {
	if s, ok := diskNames[d]; ok {
		return s
	}
	return fmt.Sprintf("DiskState(%d)", uint8(d))
}

// Connection is DRBD's connection state.
type Connection string

// The connection states. From Connected on, application writes are mirrored.
const (
	StandAlone   Connection = "StandAlone"
	Connecting   Connection = "Connecting"
	Connected    Connection = "Connected"
	SyncSource   Connection = "SyncSource"
	SyncTarget   Connection = "SyncTarget"
	VerifySource Connection = "VerifySource"
	VerifyTarget Connection = "VerifyTarget"
)

// Mirrors says whether application writes reach the peer in this state.
func (c Connection) Mirrors() bool { return c != StandAlone && c != Connecting && c != "" }

// GenerationID is the name of a data set as it is now: 128 random bits. Zero = none.
type GenerationID [16]byte

// String is 32 hex digits.
func (g GenerationID) String() string { return hex.EncodeToString(g[:]) }

// IsZero says whether there is no name.
func (g GenerationID) IsZero() bool { return g == GenerationID{} }

// Epoch is the pair's promotion counter as this house stores it; compared as a pair.
type Epoch struct {
	Counter uint64 `json:"counter"`
	Node    string `json:"node"`
}

// Less says whether e is below f.
func (e Epoch) Less(f Epoch) bool {
	return e.Counter < f.Counter || e.Counter == f.Counter && e.Node < f.Node
}
