defmodule ParaxialTest do
  # The test of the Go module starts a daemon on PARAXIAL_TEST_SOCKET, on which 192.0.2.66 is blocked.
  use ExUnit.Case

  # A busy machine is no failure: only a test that hangs takes so long.
  @moduletag timeout: 600_000

  alias Paraxial.{Address, JSON, Limiter}

  defmodule Conn do
    defstruct remote_ip: {192, 0, 2, 1},
              method: "GET",
              request_path: "/",
              assigns: %{},
              status: nil,
              halted: false
  end

  # What the plugs use of Plug, which is not a dependency.
  defmodule Elixir.Plug.Conn do
    defstruct remote_ip: {192, 0, 2, 66},
              method: "GET",
              request_path: "/",
              assigns: %{},
              status: nil,
              halted: false,
              before_send: []

    def send_resp(conn, status, ""),
      do: Enum.reduce(conn.before_send, %{conn | status: status}, & &1.(&2))

    def halt(conn), do: %{conn | halted: true}
    def register_before_send(conn, f), do: %{conn | before_send: [f | conn.before_send]}
  end

  @away "/nonexistent/report.sock"

  defp start(opts \\ []) do
    socket = System.fetch_env!("PARAXIAL_TEST_SOCKET")
    start_supervised!({Paraxial, Keyword.merge([socket: socket, timeout: 30_000], opts)})
  end

  defp eventually(f) do
    Enum.find_value(1..6000, fn _ -> f.() || (Process.sleep(10) && nil) end) ||
      flunk("waited in vain")
  end

  test "questions" do
    start()
    assert {:ok, %{"verdict" => "pass", "tags" => ["office"]}} = Paraxial.verdict({192, 0, 2, 1})

    assert {:ok, %{"verdict" => "drop", "origin" => "rule:login"}} =
             Paraxial.verdict("192.0.2.66")

    assert {:ok, %{"address" => "192.0.2.66"}} =
             Paraxial.verdict({0, 0, 0, 0, 0, 0xFFFF, 0xC000, 0x242})

    assert {:allow, n} = Paraxial.check_rate("login", {192, 0, 2, 1})
    assert n > 0
    assert {:deny, _} = Paraxial.check_rate("login", {192, 0, 2, 66}, user: "ü\"\n")
    assert {:allow, 0} = Paraxial.check_rate("other", {192, 0, 2, 66})
    assert {:error, "192.0.2.300" <> _} = Paraxial.verdict("192.0.2.300") |> unquoted()

    assert {:ok, [%{"verdict" => "pass"}, %{"verdict" => "drop"}]} =
             Paraxial.verdicts([{0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}, {192, 0, 2, 66}])
  end

  defp unquoted({:error, text}), do: {:error, String.trim_leading(text, "\"")}

  test "many processes share the stream" do
    start()

    1..200
    |> Task.async_stream(fn n -> {n, Paraxial.verdict({198, 51, 100, n})} end,
      max_concurrency: 50,
      timeout: :infinity
    )
    |> Enum.each(fn {:ok, {n, {:ok, verdict}}} ->
      assert verdict["address"] == "198.51.100.#{n}"
    end)
  end

  test "bans" do
    start()
    assert {:ok, :ban_added} = Paraxial.ban_ip({192, 0, 2, 7}, :hour, "honeypot")
    assert {:ok, :ban_added} = Paraxial.ban_ip({0x2001, 0xDB8, 0, 0, 1, 2, 3, 4}, 60)
    assert {:error, reason} = Paraxial.ban_ip({192, 0, 2, 7}, :week, "too long")
    assert reason =~ "longer than"
    assert {:error, _} = Paraxial.ban_ip({192, 0, 2, 7}, :infinity, "never")
    assert {:error, _} = Paraxial.ban_ip("x", :hour, "")
  end

  test "events arrive, and refusals are counted" do
    start()

    Paraxial.report("login", {192, 0, 2, 8},
      user: "alice",
      points: 7,
      text: String.duplicate("x", 300)
    )

    Paraxial.report("other", {192, 0, 2, 8})
    eventually(fn -> Paraxial.stats().waiting == 0 end)
    assert %{accepted: 1, refused: 1, dropped: 0} = Paraxial.stats()
  end

  test "requests above a limit of the application are denied, and banned once" do
    start()
    deny = &Paraxial.check_rate(:form, &1, 3, 60, {192, 0, 2, 9}, "form")
    assert [allow: 1, allow: 2, allow: 3, deny: 4, deny: 4] = for(_ <- 1..5, do: deny.(100))
    assert {:allow, 1} = Paraxial.check_rate(:other, 100, 3, 60, {192, 0, 2, 9}, "form")
    assert {:allow, 1} = Paraxial.check_rate(:form, 100, 3, 60, {192, 0, 2, 10}, "form")

    assert_raise ArgumentError, fn ->
      Paraxial.check_rate(:form, 1, 3, :infinity, {1, 2, 3, 4}, "")
    end

    # The end of the test would end the task that bans.
    eventually(fn -> Task.Supervisor.children(Paraxial.Tasks) == [] end)
  end

  test "the window of the limiter slides, and it holds a number of keys" do
    start(keys: 2)
    past = System.monotonic_time(:millisecond) - 10_000
    count = fn key, at -> GenServer.call(Limiter, {:count, key, 1000, 2, past + at}) end
    assert {:allow, 1, false} = count.(:a, 0)
    assert {:allow, 2, false} = count.(:a, 500)
    assert {:deny, 3, true} = count.(:a, 999)
    assert {:deny, 3, false} = count.(:a, 1400)
    assert {:allow, 1, false} = count.(:a, 2500)
    assert {:allow, 1, false} = count.(:b, 0)
    assert {:allow, 0, false} = count.(:c, 0)
    send(Limiter, :sweep)
    assert {:allow, 1, false} = count.(:c, 0)
  end

  test "without a daemon everything is allowed, and events are kept up to a number" do
    start(socket: @away, queue: 3)
    assert {:error, reason} = Paraxial.verdict({192, 0, 2, 66})
    assert reason =~ "no such file"
    assert {:allow, 0} = Paraxial.check_rate("login", {192, 0, 2, 66})
    assert {:error, _} = Paraxial.ban_ip({192, 0, 2, 7}, :hour)
    for _ <- 1..5, do: Paraxial.report("login", {192, 0, 2, 8})
    assert %{waiting: 3, dropped: 2} = Paraxial.stats()
    conn = %Conn{remote_ip: {192, 0, 2, 66}}
    assert conn == Paraxial.Plug.Allowed.call(conn, Paraxial.Plug.Allowed.init([]))
  end

  test "a daemon that does not answer delays nobody for longer than the timeout" do
    path = Path.join(System.tmp_dir!(), "paraxial-#{System.unique_integer([:positive])}.sock")
    {:ok, l} = :gen_tcp.listen(0, [:binary, active: false, ifaddr: {:local, path}])
    on_exit(fn -> File.rm(path) end)

    Task.start_link(fn ->
      {:ok, s} = :gen_tcp.accept(l)
      {:ok, _} = :gen_tcp.recv(s, 0)
      :gen_tcp.send(s, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
      Process.sleep(:infinity)
    end)

    start(socket: path, timeout: 20)
    assert {:error, "paraxiald does not answer in time"} = Paraxial.verdict({192, 0, 2, 66})
    for _ <- 1..1023, do: spawn(fn -> Paraxial.verdict({192, 0, 2, 66}) end)

    eventually(fn ->
      {:error, "1024 questions wait for paraxiald"} == Paraxial.verdict({192, 0, 2, 66})
    end)
  end

  test "Allowed refuses who is blocked or tagged, and assigns verdicts" do
    start()
    call = fn conn, opts -> Paraxial.Plug.Allowed.call(conn, Paraxial.Plug.Allowed.init(opts)) end
    blocked = %Conn{remote_ip: {192, 0, 2, 66}}
    assert %{status: 403, halted: true} = call.(blocked, [])
    assert %{status: 429, halted: true} = call.(blocked, status: 429)
    assert %{status: nil, halted: false, assigns: %{}} = call.(%Conn{}, [])
    assert %{assigns: %{p: %{"tags" => ["office"]}}} = call.(%Conn{}, assign: :p)
    assert %{halted: true} = call.(%Conn{}, block_tags: ["office"])
    assert %{halted: false} = call.(%Conn{}, block_tags: ["tor"])
  end

  test "Record reports the requests that it is for" do
    start()
    alias Paraxial.Plug.Record

    for {opts, method, path, reported?} <- [
          {[], "GET", "/", true},
          {[method: "POST"], "GET", "/", false},
          {[method: ["POST", "PUT"]], "PUT", "/", true},
          {[path: "/users/log_in"], "GET", "/users/log_in/", true},
          {[path: "/users/log_in"], "GET", "/users", false},
          {[path: "/users/log_in"], "GET", "/users/log_in/x", false},
          {[path: "/users/*/edit"], "GET", "/users/7/edit", true},
          {[path: "/users/*/edit"], "GET", "/users/edit", false},
          {[path: "/wp-admin/**"], "GET", "/wp-admin", true},
          {[path: "/wp-admin/**"], "GET", "/wp-admin/a/b", true}
        ] do
      before = Paraxial.stats()
      conn = %Conn{method: method, request_path: path}
      assert conn == Record.call(conn, Record.init([rule: "login"] ++ opts))
      later = Paraxial.stats()
      sent = later.waiting + later.accepted - before.waiting - before.accepted
      assert sent == if(reported?, do: 1, else: 0), inspect({opts, method, path})
      eventually(fn -> Paraxial.stats().waiting == 0 end)
    end

    assert_raise ArgumentError, fn -> Record.init(path: "/") end
  end

  test "with Plug, an answer is sent, and Record looks at its status" do
    start()
    opts = Paraxial.Plug.Record.init(rule: "login", status: [401, 403])
    conn = Paraxial.Plug.Record.call(struct(Elixir.Plug.Conn), opts)
    Elixir.Plug.Conn.send_resp(conn, 200, "")
    assert %{waiting: 0, accepted: 0} = Paraxial.stats()
    allowed = Paraxial.Plug.Allowed.init([])
    assert %{status: 403, halted: true} = Paraxial.Plug.Allowed.call(conn, allowed)
    eventually(fn -> Paraxial.stats().accepted == 1 end)
  end

  test "JSON" do
    for v <- [
          nil,
          true,
          false,
          0,
          -7,
          "",
          "a\"\\\n\u0001ü😀",
          [],
          [1, [2]],
          %{},
          %{"a" => %{"b" => [1]}}
        ] do
      assert {:ok, v} == v |> JSON.encode() |> JSON.decode()
    end

    assert JSON.encode(%{a: :b, c: <<"x", 255>>}) == ~s({"a":"b","c":"x\uFFFD"})
    assert {:ok, "A/😀\uFFFD\n"} = JSON.decode(~S("\u0041\/\ud83d\ude00\udc00\n"))
    assert {:ok, %{"a" => [1, "x"]}} = JSON.decode(" { \"a\" : [ 1 , \"x\" ] } \n")

    for bad <- [
          "",
          "{",
          "[1",
          "[1,]",
          "{\"a\"}",
          "{a:1}",
          "\"a",
          "\"\\x\"",
          "1 2",
          "nul",
          "{\"a\":1,}"
        ] do
      assert :error == JSON.decode(bad), bad
    end
  end

  test "addresses" do
    assert {:ok, "192.0.2.1"} = Address.text("::ffff:192.0.2.1")
    assert {:ok, "192.0.2.1/32"} = Address.prefix({192, 0, 2, 1})
    assert {:ok, "2001:db8::/64"} = Address.prefix("2001:db8::1")

    for bad <- ["", "192.0.2", {1, 2, 3}, {256, 0, 0, 1}, nil, 7],
        do: assert({:error, _} = Address.text(bad))
  end
end
