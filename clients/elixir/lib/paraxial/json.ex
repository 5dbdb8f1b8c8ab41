defmodule Paraxial.JSON do
  @moduledoc false
  # The JSON that goes to paraxiald and comes from it, so that no other package is needed.

  @doc "Encodes maps, lists, texts, whole numbers, booleans and nil."
  def encode(v), do: v |> value() |> IO.iodata_to_binary()

  defp value(nil), do: "null"
  defp value(v) when is_boolean(v), do: Atom.to_string(v)
  defp value(v) when is_integer(v), do: Integer.to_string(v)
  defp value(v) when is_atom(v), do: value(Atom.to_string(v))
  defp value(v) when is_binary(v), do: [?", escape(v), ?"]
  defp value(v) when is_list(v), do: [?[, v |> Enum.map(&value/1) |> Enum.intersperse(?,), ?]]

  defp value(v) when is_map(v) do
    pairs = for {k, x} <- v, do: [value(to_string(k)), ?:, value(x)]
    [?{, Enum.intersperse(pairs, ?,), ?}]
  end

  defp escape(<<>>), do: []
  defp escape(<<c, rest::binary>>) when c in [?", ?\\], do: [?\\, c | escape(rest)]
  defp escape(<<c, rest::binary>>) when c < 0x20, do: [hex(c) | escape(rest)]
  defp escape(<<c::utf8, rest::binary>>), do: [<<c::utf8>> | escape(rest)]
  # Bytes that are no UTF-8 are replaced, as paraxiald would do.
  defp escape(<<_, rest::binary>>), do: ["\uFFFD" | escape(rest)]

  defp hex(c), do: ["\\u00", Base.encode16(<<c>>)]

  @doc "Decodes a text to `{:ok, value}` or `:error`. Objects become maps with texts as keys."
  def decode(text) do
    with {v, rest} <- parse(skip(text)), "" <- skip(rest) do
      {:ok, v}
    else
      _ -> :error
    end
  end

  defp skip(<<c, rest::binary>>) when c in [?\s, ?\t, ?\n, ?\r], do: skip(rest)
  defp skip(text), do: text

  defp parse("null" <> rest), do: {nil, rest}
  defp parse("true" <> rest), do: {true, rest}
  defp parse("false" <> rest), do: {false, rest}
  defp parse(<<?", rest::binary>>), do: string(rest, [])
  defp parse(<<?[, rest::binary>>), do: list(skip(rest), [])
  defp parse(<<?{, rest::binary>>), do: object(skip(rest), %{})
  defp parse(text), do: number(text)

  defp number(text) do
    case Float.parse(text) do
      {f, rest} when trunc(f) == f -> {trunc(f), rest}
      other -> other
    end
  end

  defp list(<<?], rest::binary>>, []), do: {[], rest}

  defp list(text, found) do
    with {v, rest} <- parse(text) do
      case skip(rest) do
        <<?,, rest::binary>> -> list(skip(rest), [v | found])
        <<?], rest::binary>> -> {Enum.reverse([v | found]), rest}
        _ -> :error
      end
    end
  end

  defp object(<<?}, rest::binary>>, found) when found == %{}, do: {found, rest}

  defp object(<<?", rest::binary>>, found) do
    with {key, rest} <- string(rest, []),
         <<?:, rest::binary>> <- skip(rest),
         {v, rest} <- parse(skip(rest)) do
      case skip(rest) do
        <<?,, rest::binary>> -> object(skip(rest), Map.put(found, key, v))
        <<?}, rest::binary>> -> {Map.put(found, key, v), rest}
        _ -> :error
      end
    else
      _ -> :error
    end
  end

  defp object(_, _), do: :error

  defp string(<<?", rest::binary>>, found),
    do: {found |> Enum.reverse() |> IO.iodata_to_binary(), rest}

  defp string(<<?\\, ?u, hex::binary-size(4), rest::binary>>, found) do
    case {Integer.parse(hex, 16), rest} do
      {{high, ""}, <<"\\u", low::binary-size(4), rest::binary>>} when high in 0xD800..0xDBFF ->
        pair(high, Integer.parse(low, 16), rest, found)

      {{c, ""}, _} when c not in 0xD800..0xDFFF ->
        string(rest, [<<c::utf8>> | found])

      {{_, ""}, _} ->
        string(rest, ["\uFFFD" | found])

      _ ->
        :error
    end
  end

  defp string(<<?\\, c, rest::binary>>, found) do
    case c do
      ?n -> string(rest, ["\n" | found])
      ?t -> string(rest, ["\t" | found])
      ?r -> string(rest, ["\r" | found])
      ?b -> string(rest, ["\b" | found])
      ?f -> string(rest, ["\f" | found])
      c when c in [?", ?\\, ?/] -> string(rest, [<<c>> | found])
      _ -> :error
    end
  end

  defp string(<<c, rest::binary>>, found), do: string(rest, [c | found])
  defp string(<<>>, _), do: :error

  defp pair(high, {low, ""}, rest, found) when low in 0xDC00..0xDFFF do
    c = 0x10000 + (high - 0xD800) * 0x400 + (low - 0xDC00)
    string(rest, [<<c::utf8>> | found])
  end

  defp pair(_, _, _, _), do: :error
end
