package main
import ("testing";"context";"fmt")
func TestViewOnly(t *testing.T){ l,err:=view(context.Background(),1000000); if err!=nil{t.Fatal(err)}; fmt.Println(l) }
