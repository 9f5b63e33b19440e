package supervise

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestClaimIsGivenOnce(t *testing.T) {
	dir := t.TempDir()
	release, err := Claim(dir, "volume/data")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Claim(dir, "volume/data"); err == nil || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("a second claim says %v, want the holder's pid", err)
	}
	other, err := Claim(dir, "volume/scratch")
	if err != nil {
		t.Errorf("another name is claimed as well: %v", err)
	} else {
		other()
	}
	release()
	again, err := Claim(dir, "volume/data")
	if err != nil {
		t.Fatalf("a released claim is not given again: %v", err)
	}
	again()
}
