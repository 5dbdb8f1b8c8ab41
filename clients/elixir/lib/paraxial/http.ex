defmodule Paraxial.HTTP do
  @moduledoc false
  # One request to paraxiald, on a connection of its own.

  alias Paraxial.JSON

  @patience 10_000
  @again 5
  @options [
    :binary,
    active: false,
    packet: :raw,
    send_timeout: @patience,
    send_timeout_close: true
  ]

  @doc "Posts a body. Returns `{:ok, value}` or `{:error, reason}`."
  def post(socket, path, body, patience \\ @patience) do
    request =
      "POST #{path} HTTP/1.0\r\nHost: paraxiald\r\nContent-Length: #{byte_size(body)}\r\n\r\n"

    with {:ok, s} <- connect(socket, @options, patience) do
      try do
        with :ok <- :gen_tcp.send(s, [request, body]), {:ok, text} <- all(s, [], patience) do
          read(text)
        end
      after
        :gen_tcp.close(s)
      end
    end
    |> described()
  end

  @doc "Connects to a Unix socket. If too many connections wait for the daemon, it tries again."
  def connect(socket, options, patience) do
    case :gen_tcp.connect({:local, socket}, 0, options, patience) do
      {:error, :eagain} when patience > 0 ->
        Process.sleep(@again)
        connect(socket, options, patience - @again)

      other ->
        other
    end
  end

  defp all(s, found, patience) do
    case :gen_tcp.recv(s, 0, patience) do
      {:ok, data} -> all(s, [found, data], patience)
      {:error, :closed} -> {:ok, IO.iodata_to_binary(found)}
      error -> error
    end
  end

  defp read(text) do
    with [head, body] <- String.split(text, "\r\n\r\n", parts: 2),
         {:ok, v} <- JSON.decode(body) do
      case {head, v} do
        {"HTTP/1." <> <<_, " 200", _::binary>>, v} -> {:ok, v}
        {_, %{"error" => %{"message" => message}}} -> {:error, message}
        _ -> {:error, "unexpected answer of paraxiald"}
      end
    else
      _ -> {:error, "unexpected answer of paraxiald"}
    end
  end

  defp described({:error, reason}) when is_atom(reason),
    do: {:error, "paraxiald does not answer: #{:inet.format_error(reason)}"}

  defp described(other), do: other
end
