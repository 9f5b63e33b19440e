package probe

import (
	"reflect"
	"testing"
	"time"
)

func TestSummarise(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for name, c := range map[string]struct {
		sent    int
		answers []answer
		length  time.Duration
		want    Result
	}{
		"nobody":                   {10, nil, ms(100), Result{10, 10, 100, []Span{}}},
		"silence at the beginning": {4, []answer{{ms(60), "a"}, {ms(70), "a"}}, ms(100), Result{4, 2, 60, []Span{{"a", 60, 70}}}},
		"silence at the end":       {4, []answer{{ms(1), "a"}, {ms(5), "a"}}, ms(100), Result{4, 2, 95, []Span{{"a", 1, 5}}}},
		"a move": {5, []answer{{ms(90), "b"}, {ms(1), "a"}, {ms(20), "a"}, {ms(100), "b"}}, ms(101),
			Result{5, 1, 70, []Span{{"a", 1, 20}, {"b", 90, 100}}}},
		"to and fro": {3, []answer{{ms(1), "a"}, {ms(2), "b"}, {ms(3), "a"}}, ms(3),
			Result{3, 0, 1, []Span{{"a", 1, 1}, {"b", 2, 2}, {"a", 3, 3}}}},
	} {
		if got := summarise(c.sent, c.answers, c.length); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, not %+v", name, got, c.want)
		}
	}
}

func TestLateAndDoubleAnswersDoNotCount(t *testing.T) {
	r := &recorder{sent: map[int]time.Time{}, start: time.Now().Add(-time.Second)}
	r.asked(1)
	r.asked(2)
	r.sent[2] = time.Now().Add(-Late - time.Millisecond)
	r.answered(1, "a")
	r.answered(1, "a")
	r.answered(2, "a")
	r.answered(3, "a")
	if got := r.result(time.Second); got.Sent != 2 || got.Lost != 1 {
		t.Errorf("one of two was answered in time: %+v", got)
	}
}

func TestCheck(t *testing.T) {
	good := Options{For: time.Second, Every: time.Millisecond}
	for address, url := range map[string]string{"10.88.1.100:7007": "", "": "http://10.88.1.100:8080/"} {
		o := good
		if o.Address, o.URL = address, url; o.Check() != nil {
			t.Errorf("%+v: %v", o, o.Check())
		}
	}
	for _, o := range []Options{
		{Address: "10.88.1.100"}, {Address: "10.88.1.100:0"}, {Address: "foo"}, {Address: "[::1]:7"}, {URL: "foo"}, {URL: "ftp://x/"}, {URL: "http://"},
		{Address: "10.88.1.100:7007", For: -time.Second}, {Address: "10.88.1.100:7007", Every: -1},
	} {
		if o.For == 0 && o.Every == 0 {
			o.For, o.Every = good.For, good.Every
		}
		if o.Check() == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}
