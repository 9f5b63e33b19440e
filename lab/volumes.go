package lab

import "errors"

// makeVolumes makes the backing files of both nodes.
func makeVolumes(_ layout, o Options) error {
	if len(o.volumes()) > 0 {
		return errors.New("this program cannot make volumes: use --no-volume")
	}
	return nil
}
