package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Hello opens a connection. Whatever differs between both ends is refused before any data.
type Hello struct {
	Role    string `json:"role"`    // of this connection: data or ack
	Token   string `json:"token"`   // made by the dialer; ties the two connections
	Dialer  bool   `json:"dialer"`  // direction: exactly one side is
	Cluster uint8  `json:"cluster"` // cluster id
	Volume  string `json:"volume"`
	Node    string `json:"node"`
	Peer    string `json:"peer"`    // who the sender thinks the other is
	Size    uint64 `json:"size"`    // usable bytes
	Session uint64 `json:"session"` // newest session number that this side knows; the new one is the larger of both + 1
}

// The roles of a connection.
const (
	RoleData = "data"
	RoleAck  = "ack"
)

// Refuse says why a side ends the connection.
type Refuse struct {
	Code string `json:"code"`
	Text string `json:"text"`
	// Again: nothing is wrong, an input moved; the dialer comes back at once.
	Again bool `json:"again"`
}

// Verdict is what one side's compare found, from its own view, with the wishes that entered it.
type Verdict struct {
	Rule      string `json:"rule"`
	Direction string `json:"direction"`
	Full      bool   `json:"full"`
	Checksum  bool   `json:"checksum"`
	Reason    string `json:"reason"`
	// DiscardYours is a person's word, given on this side, that the receiver's history goes (split-brain).
	DiscardYours bool `json:"discard_yours"`
}

// State is what a side is now; sent at each change.
type State struct {
	Role   string `json:"role"`
	Disk   uint8  `json:"disk"`
	Paused bool   `json:"paused"` // this side wants the resync to pause
	// Epoch is of the newest promotion that this side knows.
	EpochCounter uint64 `json:"epoch_counter"`
	EpochNode    string `json:"epoch_node"`
}

// Finished is the source's word that target and source are equal.
type Finished struct {
	Snapshot []byte `json:"snapshot"` // the source's, after it stored the end
}

// Mark is the sender's rollback mark.
type Mark struct {
	Session uint64 `json:"session"`
	Counter uint64 `json:"counter"`
}

// maxWords bounds the JSON of one message in bytes.
const maxWords = 16 << 10

// Encode writes one of the JSON payloads.
func Encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("wire: the words of this package always have a JSON form: " + err.Error())
	}
	return b
}

// Decode reads one of the JSON payloads; an unknown field is an error, because both ends have the same version.
func Decode[T any](b []byte) (T, error) {
	var v T
	if len(b) > maxWords {
		return v, fmt.Errorf("%w: %d bytes of words, at most %d", ErrDamaged, len(b), maxWords)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if d.More() {
		return v, fmt.Errorf("%w: more than one word", ErrDamaged)
	}
	return v, nil
}
