package beat

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"

	"evenkeel/ha"
)

// Codec signs and checks beats of one pair. It keeps buffers: one goroutine at a time.
type Codec struct {
	cluster    uint8
	node, peer ha.NodeID
	keys       []key
	sum        [sha256.Size]byte
}

type key struct {
	id  byte
	mac hash.Hash
}

// NewCodec makes a codec for node with one or two keys of at least 16 bytes; the first signs, both are accepted. An empty
// peer accepts any other node.
func NewCodec(cluster uint8, node, peer ha.NodeID, keys [][]byte) (*Codec, error) {
	if cluster > 63 {
		return nil, fmt.Errorf("cluster id %d is out of range: use 0 to 63", cluster)
	}
	if !validNode(node) {
		return nil, fmt.Errorf("node id %q is not one lower-case letter: correct it in evenkeel.toml", node)
	}
	if len(keys) < 1 || len(keys) > 2 {
		return nil, fmt.Errorf("%d beat keys given: one or two are needed", len(keys))
	}
	c := &Codec{cluster: cluster, node: node, peer: peer}
	for _, k := range keys {
		if len(k) < 16 {
			return nil, errors.New("a beat key is shorter than 16 bytes: make a new one")
		}
		id := sha256.Sum256(k)
		c.keys = append(c.keys, key{id: id[0], mac: hmac.New(sha256.New, k)})
	}
	return c, nil
}

func validNode(n ha.NodeID) bool { return len(n) == 1 && n[0] >= 'a' && n[0] <= 'z' }

// sign appends the first n bytes of the HMAC under the first key.
func (c *Codec) sign(p []byte, n int) []byte {
	m := c.keys[0].mac
	m.Reset()
	m.Write(p)
	return append(p, m.Sum(c.sum[:0])[:n]...)
}

// signed says whether one of the keys made the n bytes at p's end.
func (c *Codec) signed(p []byte, n int) bool {
	body, tag := p[:len(p)-n], p[len(p)-n:]
	for i := range c.keys {
		k := &c.keys[i]
		if k.id != p[2] {
			continue
		}
		k.mac.Reset()
		k.mac.Write(body)
		if hmac.Equal(k.mac.Sum(c.sum[:0])[:n], tag) {
			return true
		}
	}
	return false
}

// TagOf names a link on the wire: a beat that comes in on another link than it was sent on is refused as Crossed. Devices bear the same
// name on both nodes, serial lines may differ, so they all have one tag. It does not depend on the link's index, which moves with settings.
func TagOf(kind ha.LinkKind, name string) uint16 {
	if kind == ha.LinkSerial {
		name = ""
	}
	s := sha256.Sum256([]byte(string(kind) + ":" + name))
	return uint16(s[0])<<8 | uint16(s[1])
}
